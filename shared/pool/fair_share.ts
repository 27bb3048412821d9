import type { PoolCall } from './pool_call.ts'

/** Callers remembered before those who wait for nothing are looked for. */
const PRUNE_FROM = 64

/** What one caller has waiting. */
interface Flow {
  /** Where its next call stands in the order. */
  turn: number
  /** Those that wait. */
  calls: number
  /** Where its next call would stand if none of them had come. */
  taken: number
}

/**
 * The order of calls between callers: each call gets a turn, which is where its caller's last one ended, or now, whichever
 * is later. Who floods the queue lines up behind himself, and another's call goes next. Among the calls of one caller it is
 * the order of their coming. Ref: Goyal, Vin and Cheng, "Start-time Fair Queueing", 1996.
 *
 * Nothing is remembered while no call waits.
 */
export class FairShare {
  readonly #flows = new Map<string, Flow>()
  /** The turn of the last call that went. */
  #now = 0
  /** The last turn given. */
  #latest = 0

  /** Whether others than this caller have had calls waiting. */
  sharedBy(caller: string): boolean {
    return this.#flows.size > 1 || !this.#flows.has(caller)
  }

  /** The turn that a call of this caller would get. */
  turnOf(caller: string): number {
    return Math.max(this.#now, this.#flows.get(caller)?.turn ?? 0)
  }

  /** Gives a call its turn that waits for nobody: it goes now, and nothing need be remembered of it. */
  enterAlone(call: PoolCall): void {
    call.turn = this.#now
  }

  /** Gives a waiting call its turn. */
  enter(call: PoolCall): void {
    let flow = this.#flows.get(call.caller)
    if (!flow) {
      if (this.#flows.size >= PRUNE_FROM) this.#prune()
      this.#flows.set(call.caller, flow = { turn: 0, calls: 0, taken: 0 })
    }
    call.turn = Math.max(this.#now, flow.turn)
    this.#latest = Math.max(this.#latest, call.turn)
    flow.turn = call.turn + costOf(call)
    flow.calls++
    call.shares = true
  }

  /** A call that had its turn before waits again. */
  enterAgain(call: PoolCall): void {
    const flow = this.#flows.get(call.caller)
    if (flow) flow.calls++
    else this.#flows.set(call.caller, { turn: call.turn, calls: 1, taken: call.turn })
    call.shares = true
  }

  /**
   * A call waits no more.
   * @param served it goes to a worker; else its caller has given up, or it was refused
   */
  leave(call: PoolCall, served: boolean): void {
    if (served && call.turn > this.#now) this.#now = call.turn
    if (!call.shares) return
    call.shares = false
    const flow = this.#flows.get(call.caller)
    if (!flow) return
    if (served) flow.taken = call.turn + costOf(call)
    // What it has taken is kept while others wait: who has one call at a time is not ahead of who has many.
    if (--flow.calls === 0) flow.turn = flow.taken
  }

  /** No call waits: all start anew, behind whatever was given a turn. */
  reset(): void {
    if (this.#flows.size === 0) return
    this.#flows.clear()
    this.#now = this.#latest
  }

  /** Forgets callers who wait for nothing and would get their turn now anyway. */
  #prune(): void {
    for (const [name, { calls, turn }] of this.#flows) if (calls === 0 && turn <= this.#now) this.#flows.delete(name)
  }
}

/** What can share a run costs by its rows; what cannot is a run, whatever it holds. */
function costOf(call: PoolCall): number {
  return call.model.batchable ? Math.max(1, call.rows) : 1
}
