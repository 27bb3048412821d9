import { invalid } from '../wire/errors.ts'
import { constant, type Schedule } from './schedules.ts'

/** What an optimizer remembers from step to step: a tree of numbers and vectors, which a checkpoint can hold. */
export interface OptimizerState {
  readonly [name: string]: number | Float32Array | OptimizerState
}

/** What nobody else reads any more, so that a step may overwrite it: for large models fresh vectors cost more than sums. */
export interface Owned {
  readonly gradient?: boolean
  readonly state?: boolean
}

/**
 * A rule of updates, without side effects: nothing it is given is changed but what the caller says is the step's own.
 * Rules compose with `chain`.
 *
 * Each element is computed in float64 from sums, products, quotients and square roots alone, all of which IEEE 754 fixes
 * to the bit, and rounded to float32 once; so equal inputs give equal bits on every machine.
 */
export interface Optimizer {
  /** @param count parameters */
  init(count: number): OptimizerState
  /**
   * @param gradient of the mean loss, in the first rule of a chain; what the rule before made of it, in the others
   * @param own what may be overwritten and returned: nothing by default
   * @returns what to add to the parameters (or to hand on), and the state after this step
   * @throws RpcError `invalid_argument` if the state is not of this rule or length
   */
  update(gradient: Float32Array, state: OptimizerState, parameters: Float32Array, own?: Owned): Update
}

export interface Update {
  readonly updates: Float32Array
  readonly state: OptimizerState
  /** The updates are no part of the state, nor of what was not to be overwritten. */
  readonly isOwn: boolean
}

/** Rules one after the other, each on the updates of the one before. */
export function chain(...rules: readonly Optimizer[]): Optimizer {
  return {
    init: (count) => Object.fromEntries(rules.map((rule, i) => [i, rule.init(count)])),
    update(gradient, state, parameters, own = {}) {
      let last = { updates: gradient, isOwn: own.gradient ?? false }
      const states = rules.map((rule, i) => {
        const owned = { gradient: last.isOwn, state: own.state }
        const step = rule.update(last.updates, branch(state, i), parameters, owned)
        last = step
        return [i, step.state]
      })
      return { updates: last.updates, isOwn: last.isOwn, state: Object.fromEntries(states) }
    },
  }
}

export interface SgdOptions {
  learningRate: number | Schedule
  /** Share of the last update that goes on; 0 is plain gradient descent. */
  momentum?: number
  nesterov?: boolean
}

/** Gradient descent, with momentum as PyTorch's SGD has it. */
export function sgd({ learningRate, momentum = 0, nesterov = false }: SgdOptions): Optimizer {
  if (momentum === 0) return descend(learningRate)
  return chain(accumulate(momentum, nesterov), descend(learningRate))
}

export interface AdamOptions {
  learningRate: number | Schedule
  /** Decay of the mean of gradients. */
  beta1?: number
  /** Decay of the mean of their squares. */
  beta2?: number
  epsilon?: number
}

/** Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015. */
export function adam({ learningRate, ...moments }: AdamOptions): Optimizer {
  return chain(scaleByAdam(moments), descend(learningRate))
}

/** Adam whose weight decay does not pass through the moments. Source: Loshchilov and Hutter, 2019. */
export function adamw(
  { learningRate, weightDecay = 0.01, ...moments }: AdamOptions & { weightDecay?: number },
): Optimizer {
  return chain(scaleByAdam(moments), addDecayedWeights(weightDecay), descend(learningRate))
}

/** Shrinks the whole gradient if its Euclidean norm is over `maxNorm`. Source: Pascanu et al. 2013. */
export function clipByGlobalNorm(maxNorm: number): Optimizer {
  return stateless((gradient, _parameters, isOwn) => {
    const norm = globalNorm(gradient)
    return norm > maxNorm ? scaled(gradient, maxNorm / norm, isOwn) : gradient
  })
}

/** g + decay · parameter: decay towards 0. */
export function addDecayedWeights(decay: number): Optimizer {
  return stateless((gradient, parameters, isOwn) => {
    const sum = room(gradient, isOwn)
    for (let i = 0; i < sum.length; i++) sum[i] = (gradient[i] as number) + decay * (parameters[i] as number)
    return sum
  })
}

/** −learningRate · g: the end of every chain. */
export function descend(learningRate: number | Schedule): Optimizer {
  const schedule = typeof learningRate === 'number' ? constant(learningRate) : learningRate
  return {
    init: () => ({ step: 0 }),
    update(gradient, state, _parameters, own = {}) {
      const step = number(state, 'step')
      return { updates: scaled(gradient, -schedule(step), own.gradient), state: { step: step + 1 }, isOwn: true }
    },
  }
}

/** m ← decay · m + g; hands on m or, as Nesterov has it, g + decay · m. */
export function accumulate(decay: number, nesterov = false): Optimizer {
  return {
    init: (count) => ({ momentum: new Float32Array(count) }),
    update(gradient, state, _parameters, own = {}) {
      const before = vector(state, 'momentum', gradient.length)
      const momentum = room(before, own.state)
      const updates = nesterov ? room(gradient, own.gradient) : momentum
      for (let i = 0; i < momentum.length; i++) {
        const g = gradient[i] as number
        momentum[i] = decay * (before[i] as number) + g
        if (nesterov) updates[i] = g + decay * (momentum[i] as number)
      }
      return { updates, state: { momentum }, isOwn: nesterov }
    },
  }
}

/** The mean of gradients over the root of the mean of their squares, both corrected for having begun at 0. */
export function scaleByAdam(
  { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 }: Omit<AdamOptions, 'learningRate'>,
): Optimizer {
  return {
    init: (count) => ({ step: 0, mean: new Float32Array(count), square: new Float32Array(count) }),
    update(gradient, state, _parameters, own = {}) {
      const step = number(state, 'step') + 1
      const meanBefore = vector(state, 'mean', gradient.length)
      const squareBefore = vector(state, 'square', gradient.length)
      const [meanShare, squareShare] = [1 - power(beta1, step), 1 - power(beta2, step)]
      const mean = room(meanBefore, own.state)
      const square = room(squareBefore, own.state)
      const updates = room(gradient, own.gradient)
      for (let i = 0; i < updates.length; i++) {
        const g = gradient[i] as number
        const m = mean[i] = beta1 * (meanBefore[i] as number) + (1 - beta1) * g
        const v = square[i] = beta2 * (squareBefore[i] as number) + (1 - beta2) * g * g
        updates[i] = (m / meanShare) / (Math.sqrt(v / squareShare) + epsilon)
      }
      return { updates, state: { step, mean, square }, isOwn: true }
    },
  }
}

/** parameters + updates, in float32. @param isOwn the updates may be overwritten: the sum takes their place */
export function applyUpdates(
  parameters: Float32Array,
  updates: Float32Array,
  isOwn = false,
): Float32Array<ArrayBuffer> {
  const sum = room(updates, isOwn)
  for (let i = 0; i < sum.length; i++) sum[i] = (parameters[i] as number) + (updates[i] as number)
  return sum
}

/**
 * The gradient of the mean loss, from sums over all shards.
 * @param n Σ of sample weights
 * @param isOwn the sum may be overwritten
 */
export function meanGradient(sum: Float32Array, n: number, isOwn = false): Float32Array<ArrayBuffer> {
  if (!(n > 0)) throw invalid(`Cannot take a step: the sum of sample weights must be above 0, got ${n}`)
  const mean = room(sum, isOwn)
  for (let i = 0; i < mean.length; i++) mean[i] = (sum[i] as number) / n
  return mean
}

/** √Σg², summed in order. */
export function globalNorm(gradient: Float32Array): number {
  let sum = 0
  for (let i = 0; i < gradient.length; i++) sum += (gradient[i] as number) * (gradient[i] as number)
  return Math.sqrt(sum)
}

function stateless(
  update: (gradient: Float32Array, parameters: Float32Array, isOwn: boolean) => Float32Array,
): Optimizer {
  return {
    init: () => ({}),
    update(gradient, state, parameters, own = {}) {
      const updates = update(gradient, parameters, own.gradient ?? false)
      return { updates, state, isOwn: own.gradient || updates !== gradient }
    },
  }
}

/** Where as many values may be written. */
function room(values: Float32Array, isOwn = false): Float32Array<ArrayBuffer> {
  return isOwn ? values as Float32Array<ArrayBuffer> : new Float32Array(values.length)
}

function scaled(values: Float32Array, factor: number, isOwn = false): Float32Array {
  const product = room(values, isOwn)
  for (let i = 0; i < product.length; i++) product[i] = factor * (values[i] as number)
  return product
}

/** base^exponent for a whole exponent, by squaring: Math.pow may differ in its last bit from engine to engine. */
function power(base: number, exponent: number): number {
  let result = 1
  for (let square = base, rest = exponent; rest > 0; rest = Math.floor(rest / 2), square *= square) {
    if (rest % 2 === 1) result *= square
  }
  return result
}

function branch(state: OptimizerState, name: string | number): OptimizerState {
  const value = state[name]
  if (typeof value === 'object' && !(value instanceof Float32Array)) return value
  throw mismatch(`${name}`, 'the state of a rule', value)
}
function vector(state: OptimizerState, name: string, count: number): Float32Array {
  const value = state[name]
  if (value instanceof Float32Array && value.length === count) return value
  throw mismatch(name, `${count} float32 values`, value)
}
function number(state: OptimizerState, name: string): number {
  const value = state[name]
  if (typeof value === 'number') return value
  throw mismatch(name, 'a number', value)
}

function mismatch(name: string, requirement: string, value: unknown) {
  const got = value instanceof Float32Array ? `${value.length} float32 values` : typeof value
  return invalid(`Cannot take a step: the optimizer's state must have "${name}", ${requirement}, got ${got}`)
}
