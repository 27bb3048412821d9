import { abortError } from '../rpc/deadline.ts'
import { TypicalNorm } from './agreement.ts'
import { LeaseTimer } from './lease_timer.ts'
import { MemberRecords } from './member_records.ts'
import type { RoundDriverDeps, RoundJob, RoundOutcome } from './round_job.ts'
import { RunningRound } from './running_round.ts'

/** Drives rounds over the members of a directory: leases become calls, answers and losses become events. */
export class RoundDriver {
  readonly #deps: RoundDriverDeps
  readonly #leases: LeaseTimer
  readonly #records = new MemberRecords()
  /** By plan: what is usual is another thing in training and in evaluation. */
  readonly #norms = new Map<string, TypicalNorm>()

  constructor(deps: RoundDriverDeps) {
    this.#deps = deps
    this.#leases = new LeaseTimer(deps.patience)
  }

  /**
   * Computes one sum. Waits for members as long as the signal allows.
   * @throws RpcError `failed_precondition` if the round fails for good, or the signal's reason
   */
  async run(job: RoundJob, signal: AbortSignal): Promise<RoundOutcome> {
    if (signal.aborted) throw abortError(signal.reason)
    const norms = this.#norms.get(job.plan) ?? new TypicalNorm()
    this.#norms.delete(job.plan)
    this.#norms.set(job.plan, norms)
    for (const oldest of this.#norms.keys()) if (this.#norms.size > MAX_PLANS) this.#norms.delete(oldest)
    return await new RunningRound(this.#deps, this.#leases, this.#records, norms, job).finish(signal)
  }
}

/** Plans whose results are remembered: a run has two. */
const MAX_PLANS = 16
