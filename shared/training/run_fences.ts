import { LIMITS } from '../base/limits.ts'
import type { Fence } from '../contracts/training.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import { missingParameters } from './missing_parameters.ts'

interface Held {
  epoch: number
  step: number
  parameters: string
  values: Tensor | undefined
}

/** The newest parameters of each run, and the fence before which nothing is done any more. */
export class RunFences {
  /** In order of use. */
  readonly #runs = new Map<string, Held>()

  /**
   * Admits a call, keeping the parameters that came with it.
   * @returns the parameters that the fence names
   * @throws RpcError `aborted` if a newer coordinator or step was seen, `failed_precondition` if the parameters are
   *   neither here nor in the call
   */
  admit(fence: Fence, values: Tensor | undefined): Tensor {
    const { run, epoch, step, parameters } = fence
    const held = this.#runs.get(run)
    if (held && (epoch < held.epoch || (epoch === held.epoch && step < held.step))) {
      throw new RpcError(
        'aborted',
        `Cannot compute step ${step} of run "${run}": epoch ${held.epoch} step ${held.step} was seen, got epoch ${epoch}`,
      )
    }
    const known = values ?? (held?.parameters === parameters ? held.values : undefined)
    this.#runs.delete(run)
    this.#runs.set(run, { epoch, step, parameters, values: known })
    if (this.#runs.size > LIMITS.maxTrainingRuns) {
      const [oldest] = this.#runs.keys()
      if (oldest !== undefined) this.#runs.delete(oldest)
    }
    if (!known) throw missingParameters()
    return known
  }

  /** Lets go of parameters that turned out not to be what their fence says. @throws `reason` */
  reject({ run, parameters }: Fence, reason: unknown): never {
    const held = this.#runs.get(run)
    if (held?.parameters === parameters) held.values = undefined
    throw reason
  }
}
