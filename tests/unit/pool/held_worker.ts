import { assert } from 'chai'
import { type Clock, FakeClock } from '../../../shared/base/clock.ts'
import type { Log } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import type { WorkerLimits } from '../../../shared/contracts/fields.ts'
import type { ModelRef } from '../../../shared/contracts/pool.ts'
import { differenceOf } from '../../../shared/engine/golden.ts'
import { Pool, type PoolResult, type PoolWorker, type Priority, type WorkerReply } from '../../../shared/pool/pool.ts'
import { abortError } from '../../../shared/rpc/deadline.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'

export type Inputs = Record<string, Tensor>

/** A hash that names model number `n`. */
export function sha(n: number): string {
  return n.toString(16).padStart(64, '0')
}

/** Inputs {x: [rows, 1]} whose every element is `value`. */
export function rowsOf(value: number, rows = 1): Inputs {
  return { x: Tensor.from('float32', [rows, 1], new Float32Array(rows).fill(value)) }
}

/** The value that `rowsOf` put in. */
export function valueOf(inputs: Inputs): number {
  return Number(inputs.x?.data[0])
}

export function lostWorker(): RpcError {
  return new RpcError('unavailable', 'Cannot finish the call: its worker was lost')
}

/** One run on a HeldWorker: it ends when the test says so. */
export interface HeldRun {
  model: string
  calls: readonly { inputs: Inputs }[]
  signal: AbortSignal
  /** Each call's output is its input. */
  answer(): void
  fail(error: RpcError): void
}

/** A worker whose runs end by hand, or when they are cancelled. */
export class HeldWorker implements PoolWorker {
  readonly id: string
  readonly name: string
  readonly device = 'wasm'
  accelerated = false
  volunteer = false
  limits: WorkerLimits | undefined
  life: string | undefined
  /** What it makes of a call's inputs: they themselves by default. */
  compute = (inputs: Inputs): Inputs => inputs
  /** All that it was sent. */
  readonly runs: HeldRun[] = []
  readonly #open = new Set<HeldRun>()

  constructor(id: string) {
    this.id = id
    this.name = `worker ${id}`
  }

  /** Runs sent and not ended. */
  get open(): HeldRun[] {
    return [...this.#open]
  }

  /** Values of the calls of each open run. */
  get values(): number[][] {
    return this.open.map(({ calls }) => calls.map(({ inputs }) => valueOf(inputs)))
  }

  run(model: { sha256: string }, calls: readonly { inputs: Inputs }[], signal: AbortSignal): Promise<WorkerReply> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        if (this.#open.delete(run)) settle()
      }
      const run: HeldRun = {
        model: model.sha256,
        calls,
        signal,
        answer: () =>
          end(() =>
            resolve({
              calls: calls.map(({ inputs }) => ({ outputs: this.compute(inputs) })),
              timings: { loadMs: 0, waitMs: 0, runMs: 1 },
            })
          ),
        fail: (error) => end(() => reject(error)),
      }
      signal.addEventListener('abort', () => run.fail(abortError(signal.reason)), { once: true })
      this.runs.push(run)
      this.#open.add(run)
    })
  }
}

/** A call submitted in a test, and what became of it. */
export class Submitted {
  readonly #controller = new AbortController()
  result: PoolResult | undefined
  error: RpcError | undefined
  readonly value: number

  constructor(pool: Pool, value: number, options: SubmitOptions) {
    this.value = value
    pool.run({
      model: {
        sha256: sha(options.model ?? 1),
        batchable: options.batchable ?? true,
        ...(options.delayUs && { maxQueueDelayUs: options.delayUs }),
        ...(options.public && { public: true }),
        ...options.needs,
      },
      inputs: options.inputs ?? rowsOf(value, options.rows),
      priority: options.priority ?? 'normal',
      caller: options.caller,
      signal: this.#controller.signal,
      timeoutMs: options.timeoutMs,
    }).then((result) => this.result = result, (error) => this.error = error)
  }

  abort(reason?: RpcError): void {
    this.#controller.abort(reason)
  }

  get settled(): boolean {
    return this.result !== undefined || this.error !== undefined
  }
}

export interface SubmitOptions {
  model?: number
  batchable?: boolean
  /** Volunteers may run it. */
  public?: boolean
  /** What the model needs of a worker. */
  needs?: Pick<ModelRef, 'bytes' | 'fileBytes' | 'largestTensorBytes' | 'deterministic'>
  inputs?: Inputs
  rows?: number
  priority?: Priority
  caller?: string
  /** maxQueueDelayUs of the model. */
  delayUs?: number
  timeoutMs?: number
}

/** A pool with its clock, and the proof that nothing of it is left over. */
export class PoolBench {
  readonly clock = new FakeClock()
  readonly metrics = new Metrics()
  readonly pool: Pool
  readonly workers: HeldWorker[] = []
  readonly submitted: Submitted[] = []
  /** Messages of the pool's log. */
  readonly logged: string[] = []
  #elapsedMs = 0

  /** @param soon as in PoolDeps */
  constructor(workers = 0, seed = 1, soon?: (task: () => void) => void, spotCheckShare = 0) {
    const clock: Clock = {
      now: () => this.clock.now() + this.#elapsedMs,
      after: (delayMs, task) => this.clock.after(delayMs, task),
    }
    const spotChecks = { share: spotCheckShare, difference: differenceOf }
    const log: Log = (_level, message) => this.logged.push(message)
    this.pool = new Pool({ clock, metrics: this.metrics, random: seededRandom(seed), soon, log, spotChecks })
    for (let i = 0; i < workers; i++) this.join()
  }

  join(models: readonly number[] = [], prepare?: (worker: HeldWorker) => void): HeldWorker {
    const worker = new HeldWorker(`w${this.workers.length}`)
    prepare?.(worker)
    this.workers.push(worker)
    this.pool.add(worker, models.map(sha))
    return worker
  }

  /** The worker's socket has gone: the relay forgets it first, then its calls fail. */
  vanish(worker: HeldWorker): void {
    this.pool.remove(worker.id)
    for (const run of worker.open) run.fail(lostWorker())
  }

  submit(value: number, options: SubmitOptions = {}): Submitted {
    const call = new Submitted(this.pool, value, options)
    this.submitted.push(call)
    return call
  }

  /** Lets time go by at once, where no timer is set. */
  elapse(ms: number): void {
    assert.equal(this.clock.pending, 0)
    this.#elapsedMs += ms
  }

  /** Lets promises settle; no time goes by. A call's way through the pool is ten of them long. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await undefined
  }

  /** Answers all open runs until there are none. */
  async answerAll(): Promise<void> {
    for (;;) {
      const open = this.workers.flatMap((worker) => worker.open)
      if (open.length === 0) return
      for (const run of open) run.answer()
      await this.settle()
    }
  }

  /** Every call had its one answer, and nothing waits, runs or ticks. */
  async close(): Promise<void> {
    await this.settle()
    assert.deepEqual(
      this.submitted.filter(({ settled }) => !settled).map(({ value }) => value),
      [],
      'calls not settled',
    )
    assert.equal(this.pool.queued, 0, 'calls queued')
    assert.equal(this.pool.models, 0, 'queues of models')
    for (const { id, open } of this.workers) {
      assert.equal(open.length, 0, `runs open on ${id}`)
      assert.equal(this.pool.describe(id)?.inFlight ?? 0, 0, `runs in flight on ${id}`)
      this.pool.remove(id)
    }
    assert.equal(this.pool.size, 0)
    assert.equal(this.clock.pending, 0, 'timers')
  }
}

/** Runs a case on a bench, and proves that nothing is left of it. */
export function onBench(workers: number, run: (bench: PoolBench) => Promise<void>): () => Promise<void> {
  return async () => {
    const bench = new PoolBench(workers)
    await run(bench)
    await bench.close()
  }
}
