import type { Clock } from '../../shared/base/clock.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Evaluation } from '../../shared/training/checkpoint.ts'
import type { TrainingEvent } from '../../shared/training/coordinator.ts'
import type { GatewayAccess } from '../cli/command.ts'
import { request } from '../cli/request.ts'
import type { RunReport } from '../gateway/run_board.ts'
import { thinned } from './loss_curve.ts'

/** Reports are this far apart: a person looks at them. */
const REPORT_MS = 2_000

export interface ReporterOptions {
  access: GatewayAccess
  run: string
  totalSteps: number
  /** All of the run so far, what came before it was resumed included. */
  curve: { readonly losses: readonly number[]; readonly evaluations: readonly Evaluation[] }
  clock: Clock
}

/** Tells the gateway how a run goes, for its console. Nothing of the run depends on it: what cannot be told is dropped. */
export class RunReporter {
  readonly #options: ReporterOptions
  #latest: Extract<TrainingEvent, { type: 'step' }> | undefined
  #sentAtMs = -Infinity
  #sending: Promise<void> | undefined

  constructor(options: ReporterOptions) {
    this.#options = options
  }

  /** Resolves at once, but for the last event of a run: that one is told before the run's process ends. */
  async note(event: TrainingEvent): Promise<void> {
    if (event.type === 'step') this.#latest = event
    if (event.type === 'ended') {
      await this.#sending
      return await this.#send(event.reason === 'interrupted' ? 'interrupted' : 'ended')
    }
    const nowMs = this.#options.clock.now()
    if (event.type !== 'step' || this.#sending || nowMs - this.#sentAtMs < REPORT_MS) return
    this.#sentAtMs = nowMs
    this.#sending = this.#send('running').finally(() => this.#sending = undefined)
  }

  async #send(state: RunReport['state']): Promise<void> {
    const { access, run, totalSteps, curve } = this.#options
    const { losses, evaluations } = curve
    const latest = this.#latest
    const report: RunReport = {
      state,
      step: losses.length,
      totalSteps,
      workers: latest?.workers ?? 0,
      samplesPerSecond: latest ? latest.samples / latest.seconds : 0,
      losses: finite(thinned(losses, LIMITS.maxCurvePoints)),
      validation: finite(evaluations.slice(-LIMITS.maxCurvePoints).map(({ step, loss }) => [step, loss])),
    }
    const body = new TextEncoder().encode(JSON.stringify(report))
    const signal = AbortSignal.timeout(REPORT_MS)
    await request(access, 'PUT', `/training/${encodeURIComponent(run)}`, { body, signal }).catch(() => {})
  }
}

/** JSON has no word for a loss that is not finite. */
function finite(points: [number, number][]): [number, number][] {
  return points.filter(([, loss]) => Number.isFinite(loss))
}
