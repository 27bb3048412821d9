import { alignUp } from '../base/bytes.ts'
import type { ModelRef } from '../contracts/pool.ts'
import { abortError } from '../rpc/deadline.ts'
import type { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import { batchKeyOf, rowsOf } from './batch_key.ts'
import type { Run } from './run.ts'

/** In the order they go. Jobs are `low`: nobody waits for them as for a call. */
export const PRIORITIES = ['high', 'normal', 'low'] as const
export type Priority = (typeof PRIORITIES)[number]

export interface PoolRequest {
  model: ModelRef
  inputs: Record<string, Tensor>
  priority: Priority
  /** Who calls: the workers are shared fairly between callers. Those who are not told apart are one. */
  caller?: string
  signal: AbortSignal
  /** Time left: a call that would spend most of it in the queue is refused at once. */
  timeoutMs?: number
}

export interface PoolResult {
  outputs: Record<string, Tensor>
  worker: { id: string; name: string; device: string }
  /** Milliseconds in the queue, on the worker's socket, and the worker's own account. */
  timings: { queueMs: number; workerMs: number; loadMs: number; waitMs: number; runMs: number; batch: number }
}

/** A call in the pool, from submission to its one answer. */
export class PoolCall {
  readonly model: ModelRef
  readonly inputs: Record<string, Tensor>
  readonly priority: Priority
  readonly caller: string
  readonly signal: AbortSignal
  /** Order of submission. */
  readonly sequence: number
  /** Order among those that wait, fair between callers. */
  turn = 0
  /** Counted among its caller's waiting calls. */
  shares = false
  readonly submittedAtMs: number
  /** Samples along axis 0, if calls of its kind may be joined. */
  readonly rows: number
  /** Bytes of its tensors, each padded to a multiple of 8 as in a frame. */
  readonly bytes: number
  /** The run that it is part of; undefined while it waits. */
  run: Run | undefined
  /** True once it was given to a worker: it may have begun there. */
  sent = false
  /** Workers that took the call and failed as a whole. */
  lost = 0
  #batchKey: string | undefined
  #keyed = false
  readonly #resolve: (result: PoolResult) => void
  readonly #reject: (error: RpcError) => void
  readonly #onAbort: () => void

  /** @param onGone hears that the caller has gone; the call is rejected already */
  constructor(
    request: PoolRequest,
    at: { sequence: number; nowMs: number },
    resolve: (result: PoolResult) => void,
    reject: (error: RpcError) => void,
    onGone: (call: PoolCall) => void,
  ) {
    this.model = request.model
    this.inputs = request.inputs
    this.priority = request.priority
    this.caller = request.caller ?? ''
    this.signal = request.signal
    this.sequence = at.sequence
    this.submittedAtMs = at.nowMs
    this.rows = rowsOf(request.inputs)
    let bytes = 0
    for (const name in request.inputs) {
      const tensor = request.inputs[name]
      if (tensor) bytes += alignUp(tensor.bytes.byteLength, 8)
    }
    this.bytes = bytes
    this.#resolve = resolve
    this.#reject = reject
    this.#onAbort = () => {
      reject(abortError(this.signal.reason))
      onGone(this)
    }
    this.signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Calls with equal keys may share a run. Undefined: this one runs alone. Made when first asked for: most never are. */
  get batchKey(): string | undefined {
    if (!this.#keyed) {
      this.#keyed = true
      this.#batchKey = this.model.batchable ? batchKeyOf(this.inputs) : undefined
    }
    return this.#batchKey
  }

  /** From now on it shares runs only with calls given the same key, or with none. */
  joinOnly(key: string | undefined): void {
    this.#keyed = true
    this.#batchKey = key
  }

  resolve(result: PoolResult): void {
    this.signal.removeEventListener('abort', this.#onAbort)
    this.#resolve(result)
  }

  reject(error: RpcError): void {
    this.signal.removeEventListener('abort', this.#onAbort)
    this.#reject(error)
  }
}

/** By priority, then by turns between callers, then first come first served. */
export function before(left: PoolCall, right: PoolCall): boolean {
  if (left.priority !== right.priority) return PRIORITIES.indexOf(left.priority) < PRIORITIES.indexOf(right.priority)
  return left.turn < right.turn || (left.turn === right.turn && left.sequence < right.sequence)
}
