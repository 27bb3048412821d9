import {
  adam,
  adamw,
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  type Optimizer,
  sgd,
} from '../../shared/training/optimizers.ts'
import { constant, cosine, type Schedule, warmUp } from '../../shared/training/schedules.ts'
import { invalid } from '../../shared/wire/errors.ts'

/** An optimizer as the command line names it. */
export interface OptimizerSettings {
  name: string
  learningRate: number
  momentum: number
  weightDecay: number
  /** Largest norm of the gradient. */
  clip?: number
  schedule: string
  /** Steps of warm-up. */
  warmup: number
}

type Make = (settings: OptimizerSettings, learningRate: Schedule) => Optimizer

/** Weight decay is added to the gradient, except with adamw, where it stands beside it. */
const OPTIMIZERS: Readonly<Record<string, Make>> = {
  sgd: ({ weightDecay }, learningRate) => decayed(weightDecay, sgd({ learningRate })),
  momentum: ({ weightDecay, momentum }, learningRate) => decayed(weightDecay, sgd({ learningRate, momentum })),
  nesterov: ({ weightDecay, momentum }, learningRate) =>
    decayed(weightDecay, sgd({ learningRate, momentum, nesterov: true })),
  adam: ({ weightDecay }, learningRate) => decayed(weightDecay, adam({ learningRate })),
  adamw: ({ weightDecay }, learningRate) => adamw({ learningRate, weightDecay }),
}
const SCHEDULES = ['constant', 'cosine']

/**
 * @param totalSteps of the run, over which a schedule falls
 * @throws RpcError `invalid_argument` naming the option
 */
export function optimizerOf(settings: OptimizerSettings, totalSteps: number): Optimizer {
  const { name, learningRate: peak, schedule, warmup, clip } = settings
  const make = Object.hasOwn(OPTIMIZERS, name) ? OPTIMIZERS[name] : undefined
  if (!make) {
    throw invalid(`Cannot train: --optimizer must be one of ${Object.keys(OPTIMIZERS).join(', ')}, got "${name}"`)
  }
  if (!SCHEDULES.includes(schedule)) {
    throw invalid(`Cannot train: --schedule must be one of ${SCHEDULES.join(', ')}, got "${schedule}"`)
  }
  const falling = schedule === 'cosine' ? cosine({ peak, steps: Math.max(1, totalSteps - warmup) }) : constant(peak)
  const optimizer = make(settings, warmup > 0 ? warmUp(warmup, falling) : falling)
  return clip === undefined ? optimizer : chain(clipByGlobalNorm(clip), optimizer)
}

/** The same as text: what a checkpoint and the run that goes on from it must agree on. */
export function optimizerName(settings: OptimizerSettings, totalSteps: number): string {
  // A constant rate does not depend on how long the run is, so such a run may be made longer.
  return JSON.stringify({ ...settings, ...(settings.schedule !== 'constant' && { totalSteps }) })
}

function decayed(weightDecay: number, optimizer: Optimizer): Optimizer {
  return weightDecay === 0 ? optimizer : chain(addDecayedWeights(weightDecay), optimizer)
}
