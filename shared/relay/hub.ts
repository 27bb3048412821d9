import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Pool as PoolContract, type WorkerState } from '../contracts/pool.ts'
import { differenceOf } from '../engine/golden.ts'
import { Pool, type PoolDeps, type PoolResult } from '../pool/pool.ts'
import type { Callee, Directory } from '../rpc/directory.ts'
import { createServer, implement, type Implementation } from '../rpc/server.ts'
import type { Send } from '../rpc/send.ts'
import { type EnrolledWorker, Session, type WorkerLink } from './session.ts'

export interface HubDeps extends Omit<PoolDeps, 'spotChecks'> {
  /** The relay's name in the registry. */
  name: string
  log: Log
  /** Part of the calls that a second worker computes again; DEFAULTS.spotCheckShare by default. */
  spotCheckShare?: number
  /** Bytes of a body on a worker's socket; LIMITS.maxMessageBytes by default. */
  maxMessageBytes?: number
  admit(token: string): Promise<{ volunteer: boolean }>
  /** Called when the relay comes to have workers that take calls, and when it has none left. */
  onPopulated?(populated: boolean): void
  /** What the relay serves beside `shoal.Pool`, on its workers: training, for one. */
  services?(workers: Directory): readonly Implementation[]
}

/** A socket that showed no life for two pings and a half has lost its other end. */
const SILENT_MS = 2.5 * DEFAULTS.pingIntervalMs

/**
 * A relay without its transport: sessions of workers on one side, the `shoal.Pool` service on the other. Holds nothing
 * that cannot be rebuilt from the sockets' attachments, so that a Durable Object may hibernate between messages.
 */
export class Hub {
  readonly name: string
  /** Serves `shoal.Pool`, and what `services` gives. */
  readonly send: Send
  readonly #deps: HubDeps
  readonly #pool: Pool
  readonly #sessions = new Set<Session>()
  readonly #listeners = new Set<() => void>()
  #wasPopulated = false

  constructor(deps: HubDeps) {
    this.name = deps.name
    this.#deps = deps
    const { spotCheckShare: share = DEFAULTS.spotCheckShare } = deps
    this.#pool = new Pool({ ...deps, spotChecks: { share, difference: differenceOf } })
    this.send = createServer([
      implement(PoolContract, {
        run: ({ model, inputs, priority = 'normal', caller }, { signal, timeoutMs, forwardMetadata }) =>
          this.#pool.run({ model, inputs, priority, caller, signal, timeoutMs }).then(
            ({ outputs, worker, timings }) => {
              forwardMetadata({
                'shoal-worker': worker.id,
                'shoal-device': worker.device,
                'server-timing': serverTiming(timings),
              })
              return { outputs }
            },
          ),
        workers: () => ({ relay: this.name, workers: this.workers(), queues: this.#pool.depths() }),
      }),
      ...deps.services?.(this.#directory()) ?? [],
    ])
  }

  /** Workers that take calls. */
  get usable(): number {
    return this.#pool.usable
  }

  /** Whether any worker takes calls. */
  get populated(): boolean {
    return this.#pool.usable > 0
  }

  /** Takes over a newly opened socket. @returns undefined if the relay is full; the link is closed then */
  open(link: WorkerLink): Session | undefined {
    if (this.#sessions.size >= LIMITS.maxWorkersPerRelay) {
      link.close(1013, `the relay has its ${LIMITS.maxWorkersPerRelay} workers`)
      return undefined
    }
    return this.#track(new Session(this.#sessionDeps(), link))
  }

  /** Takes back a socket that outlived this relay's memory. */
  restore(link: WorkerLink, worker: EnrolledWorker): Session {
    return this.#track(new Session(this.#sessionDeps(), link, worker))
  }

  /** Ends sessions whose other end has silently gone. Call it a few times per ping interval. */
  sweep(): void {
    const nowMs = this.#deps.clock.now()
    for (const session of this.#sessions) {
      if (session.silentMs(nowMs) > SILENT_MS) session.close(1001, 'no sign of life')
    }
  }

  workers(): WorkerState[] {
    const nowMs = this.#deps.clock.now()
    const states: WorkerState[] = []
    for (const { worker } of this.#sessions) {
      const state = worker && this.#pool.describe(worker.id)
      if (!worker || !state) continue
      const { fp16: _, ...info } = worker.info
      const { share, memory } = worker.report ?? {}
      states.push({
        id: worker.id,
        name: worker.name,
        ...info,
        ...state,
        connectedMs: nowMs - worker.connectedAtMs,
        ...(share !== undefined && share < 1 && { share }),
        ...(memory && memory.budgetBytes > 0 && { memory }),
      })
    }
    return states
  }

  close(): void {
    for (const session of [...this.#sessions]) session.close(1001, 'the relay is stopping')
  }

  /** Workers that take calls, to be called one by one. */
  #directory(): Directory {
    return {
      list: () => {
        const callees: Callee[] = []
        for (const { worker, send } of this.#sessions) {
          // What is trained is nobody's to see but its owner's.
          if (worker && !worker.volunteer && this.#pool.describe(worker.id)?.draining === false) {
            callees.push({ id: worker.id, send })
          }
        }
        return callees
      },
      onChange: (listener) => {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      },
    }
  }

  #sessionDeps() {
    return {
      ...this.#deps,
      relay: this.name,
      pool: this.#pool,
      onLate: () => this.#deps.metrics.count('shoal_relay_late_answers_total'),
      onJoin: (session: Session) => {
        this.#replace(session)
        this.#onChange()
      },
      onDrain: () => this.#onChange(),
      onEnd: (session: Session) => {
        this.#sessions.delete(session)
        this.#onChange()
      },
    }
  }

  /** A worker that came back before its old socket was found dead: calls must not go on waiting there. */
  #replace(joined: Session): void {
    for (const session of this.#sessions) {
      if (session !== joined && session.worker?.incarnation === joined.worker?.incarnation) {
        session.close(1001, 'the worker has connected anew')
      }
    }
  }

  #onChange(): void {
    this.#tellPopulated()
    for (const listener of [...this.#listeners]) listener()
  }

  #tellPopulated(): void {
    if (this.#wasPopulated === this.populated) return
    this.#wasPopulated = this.populated
    this.#deps.onPopulated?.(this.populated)
  }

  #track(session: Session): Session {
    this.#sessions.add(session)
    session.start()
    return session
  }
}

/** https://www.w3.org/TR/server-timing/ : where a call's time went, in milliseconds. */
function serverTiming(timings: PoolResult['timings']): string {
  const { queueMs, workerMs, loadMs, waitMs, runMs, batch } = timings
  const wireMs = Math.max(0, workerMs - loadMs - waitMs - runMs)
  const times = `queue;dur=${micros(queueMs)}, load;dur=${micros(loadMs)}, wait;dur=${micros(waitMs)}`
  return `${times}, run;dur=${micros(runMs)}, wire;dur=${micros(wireMs)}, batch;desc="${batch}"`
}

/** Milliseconds to the microsecond, as a text: of whole numbers, whose texts cost far less than a fraction's. */
function micros(ms: number): string {
  const total = Math.round(ms * 1000)
  const rest = total % 1000
  return rest === 0 ? String(total / 1000) : `${(total - rest) / 1000}.${String(1000 + rest).slice(1)}`
}
