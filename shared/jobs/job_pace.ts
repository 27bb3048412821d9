/**
 * How much of its room a consumer fills: all of it while jobs are quick, and less where each waits long for those that
 * were taken before it. Else slow jobs would wait in a pool's queue until their time is over, and not in the store, where
 * another consumer could take them.
 */
export class JobPace {
  #share = FIRST_SHARE

  /** A job has ended, so long after it was taken. */
  ended(tookMs: number): void {
    if (tookMs < QUICK_MS) this.#share = Math.min(1, this.#share * GROWTH)
    else if (tookMs > SLOW_MS) this.#share = Math.max(LAST_SHARE, this.#share / GROWTH)
  }

  /** @param room the most that there may be under way; at least one is, if that is not 0 */
  limit(room: number): number {
    return Math.ceil(room * this.#share)
  }
}

const FIRST_SHARE = 1 / 4
const LAST_SHARE = 1 / 64
/** A job at a time: a window's worth of quick ones grows it by half or more. */
const GROWTH = 1.05
/** A pool answers within milliseconds, and a page is patient for a few seconds. */
const QUICK_MS = 1_000
const SLOW_MS = 5_000
