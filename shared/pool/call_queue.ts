import { LIMITS } from '../base/limits.ts'
import type { PoolCall, Priority } from './pool_call.ts'

/** Bytes of calls joined into one run: padding to the next power of two may double them, and then they fill a frame's body. */
const MAX_JOINED_BYTES = LIMITS.maxMessageBytes / 2

/** Calls that wait for one model: first come first served within each of two priorities. */
export class CallQueue {
  readonly #lanes: Record<Priority, Lane> = { high: new Lane(), normal: new Lane() }

  get length(): number {
    return this.#lanes.high.calls.length + this.#lanes.normal.calls.length
  }

  /** Bytes of the waiting calls' tensors. */
  get bytes(): number {
    return this.#lanes.high.bytes + this.#lanes.normal.bytes
  }

  push(call: PoolCall): void {
    const lane = this.#lanes[call.priority]
    lane.calls.push(call)
    lane.count(call, 1)
  }

  /** Puts calls back where they stood, which is at the front or near it: they have waited longest. */
  putBack(calls: readonly PoolCall[]): void {
    for (const call of calls) {
      const lane = this.#lanes[call.priority]
      const later = lane.calls.findIndex(({ sequence }) => sequence > call.sequence)
      lane.calls.splice(later < 0 ? lane.calls.length : later, 0, call)
      lane.count(call, 1)
    }
  }

  /** Removes one call wherever it stands. Answers whether it was there. */
  remove(call: PoolCall): boolean {
    const lane = this.#lanes[call.priority]
    const index = lane.calls.indexOf(call)
    if (index < 0) return false
    lane.calls.splice(index, 1)
    lane.count(call, -1)
    return true
  }

  peek(): PoolCall | undefined {
    return this.#lanes.high.calls[0] ?? this.#lanes.normal.calls[0]
  }

  /** Runs that start before a new call of this priority: an estimate, as if all calls that may be joined were alike. */
  runsAhead(priority: Priority): number {
    const { high, normal } = this.#lanes
    const both = priority === 'normal'
    if (!this.peek()?.model.batchable) return high.calls.length + (both ? normal.calls.length : 0)
    return Math.ceil((high.rows + (both ? normal.rows : 0)) / LIMITS.maxBatch)
  }

  /**
   * Takes the first call and those behind it that may share its run: LIMITS.maxBatch rows and MAX_JOINED_BYTES at most. A
   * first call that exceeds these by itself runs by itself.
   */
  take(): PoolCall[] {
    const first = this.peek()
    if (!first) return []
    if (this.length === 1 || first.batchKey === undefined) {
      this.remove(first)
      return [first]
    }
    const batch: PoolCall[] = []
    let [rows, bytes] = [LIMITS.maxBatch, MAX_JOINED_BYTES]
    for (const lane of [this.#lanes.high, this.#lanes.normal]) {
      lane.takeIf((call) => {
        if (rows <= 0) return 'stop'
        const fits = call.rows <= rows && call.bytes <= bytes
        if (call !== first && !(fits && call.batchKey === first.batchKey)) return 'leave'
        batch.push(call)
        rows -= call.rows
        bytes -= call.bytes
        return 'take'
      })
    }
    return batch
  }

  /** Empties the queue. */
  takeAll(): PoolCall[] {
    const all = [...this.#lanes.high.calls, ...this.#lanes.normal.calls]
    this.#lanes.high = new Lane()
    this.#lanes.normal = new Lane()
    return all
  }
}

class Lane {
  readonly calls: PoolCall[] = []
  rows = 0
  bytes = 0

  count(call: PoolCall, sign: 1 | -1): void {
    this.rows += sign * call.rows
    this.bytes += sign * call.bytes
  }

  /** Goes through the calls from the front, once, and closes the gaps. */
  takeIf(judge: (call: PoolCall) => 'take' | 'leave' | 'stop'): void {
    let kept = 0
    let seen = 0
    for (; seen < this.calls.length; seen++) {
      const call = this.calls[seen]
      if (!call) continue
      const verdict = judge(call)
      if (verdict === 'stop') break
      if (verdict === 'take') this.count(call, -1)
      else this.calls[kept++] = call
    }
    this.calls.splice(kept, seen - kept)
  }
}
