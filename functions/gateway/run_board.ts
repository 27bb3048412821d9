import * as z from 'zod'
import type { Clock } from '../../shared/base/clock.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { invalid } from '../../shared/wire/errors.ts'

const whole = z.number().int().min(0)
/** A step and what was measured there. */
const point = z.tuple([whole, z.number()])

/** How a training run goes, as its coordinator tells it. */
export const runReport = z.strictObject({
  state: z.enum(['running', 'ended', 'interrupted']),
  step: whole,
  totalSteps: whole,
  workers: whole,
  samplesPerSecond: z.number().min(0),
  /** Losses from the first step to the latest, thinned to a curve's resolution. */
  losses: z.array(point).max(LIMITS.maxCurvePoints),
  /** Losses of validation. */
  validation: z.array(point).max(LIMITS.maxCurvePoints),
})
export type RunReport = z.infer<typeof runReport>

export const runList = z.object({ runs: z.array(runReport.extend({ run: z.string(), ageMs: z.number() })) })
export type TrainingRun = z.infer<typeof runList>['runs'][number]

/** A coordinator that has not reported for so long has gone; what has ended stays to be looked at. */
const SILENT_MS = 30_000
const KEPT_MS = 600_000

/**
 * What coordinators say of their runs, for people to see. In this process's memory alone: each report is whole, so the next
 * one restores what a restart forgot.
 */
export class RunBoard {
  readonly #clock: Clock
  readonly #reports = new Map<string, { report: RunReport; atMs: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws RpcError `invalid_argument` */
  report(run: string, json: unknown): void {
    const parsed = runReport.safeParse(json)
    if (!parsed.success || run.length > LIMITS.maxNameLength) {
      const [issue] = parsed.error?.issues ?? []
      throw invalid(
        `Cannot note the run: at "${issue?.path.join('.') ?? 'run'}": ${issue?.message ?? 'too long a name'}`,
      )
    }
    // Latest last, so that the first is who has been silent longest.
    this.#reports.delete(run)
    this.#reports.set(run, { report: parsed.data, atMs: this.#clock.now() })
    const [oldest] = this.#reports.keys()
    if (this.#reports.size > LIMITS.maxShownRuns && oldest !== undefined) this.#reports.delete(oldest)
  }

  /** The latest first. */
  runs(): TrainingRun[] {
    const nowMs = this.#clock.now()
    for (const [run, { report, atMs }] of this.#reports) {
      if (nowMs - atMs > (report.state === 'running' ? SILENT_MS : KEPT_MS)) this.#reports.delete(run)
    }
    return [...this.#reports].map(([run, { report, atMs }]) => ({ run, ...report, ageMs: nowMs - atMs })).reverse()
  }
}
