import { LIMITS } from '../base/limits.ts'
import { before, type PoolCall, PRIORITIES, type Priority } from './pool_call.ts'

/** Bytes of calls joined into one run: padding to the next power of two may double them, and then they fill a frame's body. */
const MAX_JOINED_BYTES = LIMITS.maxMessageBytes / 2

/** Calls that wait for one model: by turns within each priority. */
export class CallQueue {
  readonly #lanes: Record<Priority, Lane> = { high: new Lane(), normal: new Lane(), low: new Lane() }

  get length(): number {
    const { high, normal, low } = this.#lanes
    return high.calls.length + normal.calls.length + low.calls.length
  }

  /** Bytes of the waiting calls' tensors. */
  get bytes(): number {
    const { high, normal, low } = this.#lanes
    return high.bytes + normal.bytes + low.bytes
  }

  get rows(): number {
    return this.#lanes.high.rows + this.#lanes.normal.rows
  }

  /** Runs that all of it makes: an estimate, as if all calls that may be joined were alike. */
  get runs(): number {
    return this.peek()?.model.batchable ? Math.ceil(this.rows / LIMITS.maxBatch) : this.length
  }

  push(call: PoolCall): void {
    const lane = this.#lanes[call.priority]
    lane.calls.splice(lane.placeOf(call), 0, call)
    lane.count(call, 1)
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
    const { high, normal, low } = this.#lanes
    return high.calls[0] ?? normal.calls[0] ?? low.calls[0]
  }

  /**
   * Runs that start before a new call of this priority and turn: an estimate, as if all calls that may be joined were alike.
   */
  runsAhead(priority: Priority, turn: number): number {
    const ahead = this.#lanes[priority].before(turn)
    for (const name of PRIORITIES.slice(0, PRIORITIES.indexOf(priority))) {
      ahead.calls += this.#lanes[name].calls.length
      ahead.rows += this.#lanes[name].rows
    }
    return this.peek()?.model.batchable ? Math.ceil(ahead.rows / LIMITS.maxBatch) : ahead.calls
  }

  /** Of the caller with the most calls here, the one that goes last; undefined if `caller` would have as many with one more. */
  lastOfCrowd(caller: string): PoolCall | undefined {
    const last = new Map<string, { calls: number; call: PoolCall }>()
    for (const name of PRIORITIES) {
      for (const call of this.#lanes[name].calls) {
        last.set(call.caller, { calls: (last.get(call.caller)?.calls ?? 0) + 1, call })
      }
    }
    let most: { calls: number; call?: PoolCall } = { calls: (last.get(caller)?.calls ?? 0) + 1 }
    for (const one of last.values()) if (one.calls > most.calls) most = one
    return most.call
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
    for (const name of PRIORITIES) {
      this.#lanes[name].takeIf((call) => {
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
    const all: PoolCall[] = []
    for (const name of PRIORITIES) {
      all.push(...this.#lanes[name].calls)
      this.#lanes[name] = new Lane()
    }
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

  /** Where a call stands or would stand: at the end, as a rule. */
  placeOf(call: PoolCall): number {
    let [from, to] = [0, this.calls.length]
    const last = this.calls[to - 1]
    if (!last || before(last, call)) return to
    while (from < to) {
      const middle = (from + to) >> 1
      const other = this.calls[middle]
      if (other && before(other, call)) from = middle + 1
      else to = middle
    }
    return from
  }

  /** How many calls, and about how many rows, have this turn or an earlier one. */
  before(turn: number): { calls: number; rows: number } {
    const all = this.calls.length
    const last = this.calls[all - 1]
    if (!last || last.turn <= turn) return { calls: all, rows: this.rows }
    const calls = this.calls.findIndex((call) => call.turn > turn)
    return { calls, rows: this.rows * calls / all }
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
