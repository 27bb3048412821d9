import { DurableObject } from 'cloudflare:workers'
import type { DurableObjectState, WebSocket as RuntimeSocket } from '@cloudflare/workers-types/index.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { jitter } from '../../shared/base/random.ts'
import { Hub } from '../../shared/relay/hub.ts'
import type { EnrolledWorker, Session, WorkerLink } from '../../shared/relay/session.ts'
import { SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { relayTraining } from '../../shared/training/relay_training.ts'
import { PING, PONG } from '../../shared/wire/frame.ts'
import type { GatewayEnv } from '../gateway/cloudflare_platform.ts'
import { admitOnce } from './admit.ts'
import { DurableJobs } from './durable_jobs.ts'
import { DurableLease } from './durable_lease.ts'
import { durableOnce } from './durable_once.ts'
import { readSpotCheckShare } from './spot_checks.ts'
import { leasesOf, logOf, secretOf, wallClock } from './env.ts'
import { answerFrames } from './frame_fetch.ts'

/** What a socket keeps through hibernation: when it was opened, and once welcomed, whose it is. */
interface Attachment {
  openedAtMs: number
  worker?: EnrolledWorker
}

const OPEN = 1
/** A change in the number of workers is known to the registry by then: whoever enrols looks there for the emptiest. */
const NEWS_MS = 1_000

/**
 * A relay as a Durable Object. It sleeps while its sockets are quiet: the runtime answers their pings, and when a message,
 * a call or its alarm wakes it, the hub is built again from what the sockets keep. Asked only by the gateway: for a
 * worker's socket, for its metrics, or with a call in one frame.
 */
export class Relay extends DurableObject<GatewayEnv> {
  readonly #hub: Hub
  readonly #lease: DurableLease
  readonly #jobs: DurableJobs
  readonly #log
  readonly #metrics = new Metrics()
  readonly #sessions = new Map<RuntimeSocket, Session>()

  constructor(ctx: DurableObjectState, env: GatewayEnv) {
    super(ctx, env)
    const { name } = ctx.id
    if (name === undefined) throw new Error('Cannot open the relay: it must be reached by its name, got an id alone')
    const log = this.#log = logOf(env)
    const once = durableOnce(ctx.storage.sql, wallClock)
    this.#lease = new DurableLease({ name, leases: leasesOf(env), storage: ctx.storage, log })
    this.#jobs = new DurableJobs(env, {
      hub: () => this.#hub,
      metrics: this.#metrics,
      wakeWithin: (delayMs) => void this.#wakeWithin(delayMs, true),
    })
    this.#hub = new Hub({
      name,
      clock: wallClock,
      log,
      metrics: this.#metrics,
      spotCheckShare: readSpotCheckShare(env.SHOAL_SPOT_CHECKS),
      admit: (token) => admitOnce(token, name, { secret: secretOf(env), once, clock: wallClock }),
      onPopulated: (populated) => this.#onPopulated(populated),
      services: (directory) => [
        relayTraining({ clock: wallClock, random: Math.random, log, metrics: this.#metrics, directory }),
        this.#jobs.service,
      ],
    })
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(PING, PONG))
    for (const socket of ctx.getWebSockets()) this.#restore(socket)
    // Workers may have gone while nobody was there to notice: a crash ends all sockets and tells no one.
    if (!this.#hub.populated) void this.#lease.leave()
  }

  async fetch(request: Request): Promise<Response> {
    if (request.headers.get('upgrade')?.toLowerCase() === 'websocket') return await this.#accept(request)
    if (request.method === 'GET') return new Response(this.#metrics.render())
    return await answerFrames(request, this.#hub.send, { clock: wallClock, log: this.#log })
  }

  async webSocketMessage(socket: RuntimeSocket, message: ArrayBuffer | string): Promise<void> {
    this.#sessions.get(socket)?.receive(typeof message === 'string' ? message : new Uint8Array(message))
  }

  async webSocketClose(socket: RuntimeSocket, code: number): Promise<void> {
    await this.#end(socket, `socket closed with ${code}`)
  }

  async webSocketError(socket: RuntimeSocket): Promise<void> {
    await this.#end(socket, 'socket failed')
  }

  /** Beats, and ends sockets that have gone silent, for as long as there are any. */
  async alarm(): Promise<void> {
    // Set first: whatever fails below, there is a next time.
    await this.#wakeWithin(jitter(DEFAULTS.durableRelayBeatMs, DEFAULTS.beatJitter, Math.random))
    this.#hub.sweep()
    await this.#lease.beat(this.#hub.workers().length)
    await this.#jobs.look()
  }

  async #accept(request: Request): Promise<Response> {
    const { 0: client, 1: socket } = new WebSocketPair()
    this.ctx.acceptWebSocket(socket)
    const openedAtMs = wallClock.now()
    keep(socket, { openedAtMs })
    this.#open(socket, openedAtMs)
    await this.#wakeWithin(DEFAULTS.durableRelayBeatMs)
    const asked = request.headers.get('sec-websocket-protocol')?.split(/, */) ?? []
    const headers = asked.includes(SUBPROTOCOL) ? { 'sec-websocket-protocol': SUBPROTOCOL } : undefined
    return new Response(null, { status: 101, webSocket: client, headers } as ResponseInit)
  }

  #open(socket: RuntimeSocket, openedAtMs: number): void {
    const session = this.#hub.open(this.#link(socket, openedAtMs))
    if (session) this.#sessions.set(socket, session)
  }

  #restore(socket: RuntimeSocket): void {
    if (socket.readyState !== OPEN) return
    const { openedAtMs, worker } = socket.deserializeAttachment() as Attachment
    if (worker) this.#sessions.set(socket, this.#hub.restore(this.#link(socket, openedAtMs), worker))
    // A greeting holds a timer, which keeps the object awake: it is met here only if the object was moved or crashed.
    else if (wallClock.now() - openedAtMs < DEFAULTS.helloTimeoutMs) this.#open(socket, openedAtMs)
    else socket.close(1008, 'a valid hello frame was expected in time')
  }

  #link(socket: RuntimeSocket, openedAtMs: number): WorkerLink {
    return {
      write: (message) => socket.send(message),
      close: (code, reason) => {
        socket.close(code, reason)
        void this.#end(socket, reason)
      },
      save: (worker) => {
        keep(socket, { openedAtMs, worker })
        void this.#wakeWithin(NEWS_MS)
      },
      lastAliveMs: () => this.ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0,
    }
  }

  async #end(socket: RuntimeSocket, reason: string): Promise<void> {
    const session = this.#sessions.get(socket)
    this.#sessions.delete(socket)
    session?.end(reason)
    if (this.#sessions.size > 0) await this.#wakeWithin(NEWS_MS)
  }

  #onPopulated(populated: boolean): void {
    if (!populated) void this.#lease.leave()
    // After a sleep the life goes on, and its next beat is due with the alarm.
    else if (!this.#lease.held) void this.#lease.enter(this.#hub.workers().length)
    if (populated) void this.#jobs.look()
  }

  /**
   * Sees to it that the alarm rings by then, while there are sockets: without any, the object sleeps undisturbed, unless
   * jobs are due.
   */
  async #wakeWithin(delayMs: number, always = false): Promise<void> {
    const [rings, wanted] = [await this.ctx.storage.getAlarm(), wallClock.now() + delayMs]
    if ((always || this.#sessions.size > 0) && (rings === null || rings > wanted)) {
      await this.ctx.storage.setAlarm(wanted)
    }
  }
}

function keep(socket: RuntimeSocket, attachment: Attachment): void {
  socket.serializeAttachment(attachment)
}
