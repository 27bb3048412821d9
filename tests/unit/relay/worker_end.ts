import { assert } from 'chai'
import type { Log } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Pool } from '../../../shared/contracts/pool.ts'
import { type Hello, Worker } from '../../../shared/contracts/worker.ts'
import { Hub } from '../../../shared/relay/hub.ts'
import type { EnrolledWorker, Session, WorkerLink } from '../../../shared/relay/session.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { type ControlFrame, Peer } from '../../../shared/rpc/peer.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { settle, VirtualTime } from '../virtual_time.ts'

type Inputs = Record<string, Tensor>

/** A run that the relay asked this worker for. */
export interface AskedRun {
  inputs: Inputs
  signal: AbortSignal
  answer(): void
  fail(error: RpcError): void
}

/** The far end of a worker's socket: the real protocol, with runs that end by hand. */
export class WorkerEnd {
  readonly frames: ControlFrame[] = []
  readonly texts: string[] = []
  readonly saved: EnrolledWorker[] = []
  closed: { code: number; reason: string } | undefined
  lastAliveMs = 0
  /** A socket that fails on the next write. */
  broken = false
  /** What it makes of its inputs. */
  compute = (inputs: Inputs): Inputs => inputs
  readonly runs: AskedRun[] = []
  readonly peer: Peer
  session: Session | undefined
  readonly #clock: VirtualTime

  constructor(clock: VirtualTime) {
    this.#clock = clock
    this.peer = new Peer({
      write: (message) => void queueMicrotask(() => this.session?.receive(message)),
      onControl: (frame) => this.frames.push(frame),
      clock,
      serve: createServer([
        implement(Worker, {
          run: ({ inputs }, { signal }) =>
            new Promise((resolve, reject) => {
              const run: AskedRun = {
                inputs,
                signal,
                answer: () =>
                  resolve({
                    outputs: this.compute(inputs),
                    timings: { loadMs: 1, waitMs: 2, runMs: 3 },
                  }),
                fail: reject,
              }
              this.runs.push(run)
            }),
        }),
      ]),
    })
  }

  get isClosed(): boolean {
    return this.closed !== undefined
  }

  readonly link: WorkerLink = {
    write: (message) => {
      if (this.broken) throw new Error('socket is broken')
      queueMicrotask(() => typeof message === 'string' ? this.texts.push(message) : this.peer.receive(message))
    },
    close: (code, reason) => {
      if (new TextEncoder().encode(reason).byteLength > 123) throw new SyntaxError('reason is too long')
      this.closed = { code, reason }
      this.peer.close(new RpcError('unavailable', 'Cannot finish the call: the socket closed'))
    },
    save: (worker) => void this.saved.push(structuredClone(worker)),
    lastAliveMs: () => this.lastAliveMs,
  }

  hello(fields: Partial<Hello> = {}): void {
    this.peer.control('hello', {
      token: 'good',
      name: 'tab',
      incarnation: `life ${Math.floor(this.#clock.now())} ${ends++}`,
      info: { device: 'wasm', build: 'wasm', adapter: 'CPU', fallbackAdapter: false, fp16: false, reason: 'none' },
      models: [],
      ...fields,
    })
  }

  /** The socket is gone without a word. */
  vanish(): void {
    this.session?.end('the socket closed')
    this.peer.close(new RpcError('unavailable', 'Cannot finish the call: the socket closed'))
  }
}

let ends = 0

/** A hub with everything around it, and the proof that nothing of it is left over. */
export class HubBench {
  readonly clock = new VirtualTime(1_000_000)
  readonly metrics = new Metrics()
  readonly logged: string[] = []
  readonly populated: boolean[] = []
  readonly sessions: Session[] = []
  readonly ends: WorkerEnd[] = []
  admit: (token: string) => Promise<{ volunteer: boolean }> = (token) =>
    token === 'good'
      ? Promise.resolve({ volunteer: false })
      : Promise.reject(new RpcError('unauthenticated', 'Cannot enrol the worker: no'))
  readonly hub: Hub

  constructor(spotCheckShare?: number) {
    const log: Log = (level, message) => void this.logged.push(`${level}: ${message}`)
    this.hub = new Hub({
      name: 'relay-1',
      clock: this.clock,
      metrics: this.metrics,
      random: seededRandom(1),
      log,
      spotCheckShare,
      admit: (token) => this.admit(token),
      onPopulated: (populated) => this.populated.push(populated),
    })
  }

  open(): WorkerEnd {
    const end = new WorkerEnd(this.clock)
    end.session = this.hub.open(end.link)
    this.#track(end)
    return end
  }

  restore(worker: EnrolledWorker): WorkerEnd {
    const end = new WorkerEnd(this.clock)
    end.session = this.hub.restore(end.link, worker)
    this.#track(end)
    return end
  }

  #track(end: WorkerEnd): void {
    this.ends.push(end)
    if (end.session) this.sessions.push(end.session)
  }

  async join(fields: Partial<Hello> = {}): Promise<WorkerEnd> {
    const end = this.open()
    end.hello(fields)
    await settle()
    assert.equal(end.frames[0]?.type, 'welcome')
    return end
  }

  /** Calls the pool as a gateway does. */
  readonly pool = () =>
    clientOver(Pool, { transport: { send: this.hub.send, codec: 'tensors', close() {} }, clock: this.clock })

  infer(
    value: number,
    { deterministic, ...options }: {
      signal?: AbortSignal
      onMetadata?: (metadata: Record<string, string>) => void
      deterministic?: boolean
    } = {},
  ) {
    return this.pool().run({
      model: { sha256: '5'.repeat(64), batchable: false, deterministic },
      inputs: { x: Tensor.from('float32', [1], [value]) },
    }, options).then(({ outputs }) => Number(outputs.x?.data[0]))
  }

  async close(): Promise<void> {
    this.hub.close()
    for (const end of this.ends) for (const run of end.runs) run.answer()
    await settle(200)
    for (const session of this.sessions) assert.equal(session.inFlight, 0, 'calls in flight')
    for (const { peer } of this.ends) assert.equal(peer.inFlight + peer.serving, 0, 'calls on a worker')
    assert.deepEqual(this.hub.workers(), [])
    assert.isFalse(this.hub.populated)
    assert.equal(this.clock.pending, 0, 'timers')
  }
}

export function onHub(run: (bench: HubBench) => Promise<void>, spotCheckShare?: number): () => Promise<void> {
  return async () => {
    const bench = new HubBench(spotCheckShare)
    await run(bench)
    await bench.close()
  }
}

/** What the caller is told, or the value that came back. */
export async function outcome(call: Promise<number>): Promise<number | string> {
  return await call.catch((error) => error instanceof RpcError ? error.code : String(error))
}
