import type { ModelRef } from '../contracts/pool.ts'
import type { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'

export type Priority = 'high' | 'normal'

export interface PoolResult {
  outputs: Record<string, Tensor>
  worker: { id: string; name: string; device: string }
  /** Milliseconds in the queue, on the worker's socket, and the worker's own account. */
  timings: { queueMs: number; workerMs: number; loadMs: number; waitMs: number; runMs: number; batch: number }
}

/** A call in the pool, from submission to its one answer. */
export interface PoolCall {
  readonly model: ModelRef
  readonly inputs: Record<string, Tensor>
  readonly priority: Priority
  readonly signal: AbortSignal
  readonly bytes: number
  /** Samples along axis 0, if calls of its kind may be joined. */
  readonly rows: number
  /** Calls with equal keys may share a run. Undefined: this one runs alone. */
  batchKey: string | undefined
  readonly submittedAtMs: number
  /** Workers that took the call and vanished. */
  lost: number
  resolve(result: PoolResult): void
  reject(error: RpcError): void
}

/** Calls that wait for one model: first come first served within each of two priorities, bounded by count and bytes. */
export class CallQueue {
  readonly #lanes: Record<Priority, PoolCall[]> = { high: [], normal: [] }
  #bytes = 0

  get length(): number {
    return this.#lanes.high.length + this.#lanes.normal.length
  }

  get bytes(): number {
    return this.#bytes
  }

  push(call: PoolCall): void {
    this.#lanes[call.priority].push(call)
    this.#bytes += call.bytes
  }

  /** Puts calls back at the front, in their order: they have waited longest. */
  putBack(calls: readonly PoolCall[]): void {
    for (const call of calls.toReversed()) {
      this.#lanes[call.priority].unshift(call)
      this.#bytes += call.bytes
    }
  }

  /** Removes one call wherever it stands. Answers whether it was there. */
  remove(call: PoolCall): boolean {
    const lane = this.#lanes[call.priority]
    const index = lane.indexOf(call)
    if (index < 0) return false
    lane.splice(index, 1)
    this.#bytes -= call.bytes
    return true
  }

  peek(): PoolCall | undefined {
    return this.#lanes.high[0] ?? this.#lanes.normal[0]
  }

  /** Takes the first call and those behind it that may share its run, up to `maxRows` samples together. */
  takeBatch(maxRows: number): PoolCall[] {
    const first = this.peek()
    if (!first) return []
    const batch: PoolCall[] = []
    let rows = 0
    for (const lane of [this.#lanes.high, this.#lanes.normal]) {
      for (let i = 0; i < lane.length;) {
        const call = lane[i]
        const joins = call &&
          (call === first ||
            (call.batchKey !== undefined && call.batchKey === first.batchKey && rows + call.rows <= maxRows))
        if (call && joins) {
          batch.push(call)
          rows += call.rows
          this.#bytes -= call.bytes
          lane.splice(i, 1)
          if (first.batchKey === undefined) return batch
        } else i++
        if (rows >= maxRows) return batch
      }
    }
    return batch
  }
}
