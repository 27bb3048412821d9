import { describe, expect, it } from 'vitest'
import {
  accumulate,
  adam,
  adamw,
  applyUpdates,
  chain,
  clipByGlobalNorm,
  globalNorm,
  meanGradient,
  type Optimizer,
  type OptimizerState,
  sgd,
} from '../../../shared/training/optimizers.ts'
import { constant, cosine, warmUp } from '../../../shared/training/schedules.ts'
import { RpcError } from '../../../shared/wire/errors.ts'

const START = [1, -2, 0.5, 0]
const gradientAt = (step: number) => Float32Array.from({ length: 4 }, (_, i) => ((i * 37 + step * 53) % 19 - 9) / 8)

function train(optimizer: Optimizer, steps: number, from = { parameters: Float32Array.from(START), step: 0 }) {
  let { parameters } = from
  let state: OptimizerState = optimizer.init(4)
  for (let step = from.step; step < from.step + steps; step++) {
    const result = optimizer.update(gradientAt(step), state, parameters)
    parameters = applyUpdates(parameters, result.updates)
    state = result.state
  }
  return { parameters, state }
}

/** Five steps of torch.optim 2.13 on the same gradients. */
const TORCH: Record<string, [Optimizer, number[]]> = {
  'plain descent': [sgd({ learningRate: 0.1 }), [1.1124999523162842, -2.0625, 0.5, 0.0625000074505806]],
  momentum: [
    sgd({ learningRate: 0.1, momentum: 0.9 }),
    [1.2575236558914185, -2.5507609844207764, 0.11354003101587296, -0.22215870022773743],
  ],
  Nesterov: [
    sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true }),
    [1.3442713022232056, -2.558185338973999, 0.15218602120876312, -0.13744281232357025],
  ],
  Adam: [
    adam({ learningRate: 0.1 }),
    [1.1569017171859741, -2.3225607872009277, 0.21943555772304535, -0.23061984777450562],
  ],
  AdamW: [
    adamw({ learningRate: 0.1, weightDecay: 0.1 }),
    [1.1034358739852905, -2.215754508972168, 0.20337477326393127, -0.22265484929084778],
  ],
  'momentum, clipped': [
    chain(clipByGlobalNorm(0.5), sgd({ learningRate: 0.1, momentum: 0.9 })),
    [0.9777607321739197, -2.175847053527832, 0.40514180064201355, -0.013869432732462883],
  ],
  'descent on a cosine': [
    sgd({ learningRate: cosine({ peak: 0.1, steps: 8 }) }),
    [1.0737992525100708, -2.1136152744293213, 0.4364701211452484, -0.013444466516375542],
  ],
}

describe('optimizers', () => {
  for (const [name, [optimizer, expected]] of Object.entries(TORCH)) {
    it(`${name} takes PyTorch's steps`, () => {
      const { parameters } = train(optimizer, 5)
      for (const [i, value] of expected.entries()) expect(parameters[i]).toBeCloseTo(value, 5)
    })

    it(`${name} goes on from a state as if it had not stopped`, () => {
      const whole = train(optimizer, 6)
      const half = train(optimizer, 3)
      // What a checkpoint does to it.
      const state = copy(half.state)
      let { parameters } = half
      let rest: OptimizerState = state
      for (let step = 3; step < 6; step++) {
        const result = optimizer.update(gradientAt(step), rest, parameters)
        parameters = applyUpdates(parameters, result.updates)
        rest = result.state
      }
      expect(parameters).toEqual(whole.parameters)
      expect(rest).toEqual(whole.state)
    })

    it(`${name} changes nothing that it is given`, () => {
      const { parameters, state } = train(optimizer, 2)
      const [gradient, before, stateBefore] = [gradientAt(2), parameters.slice(), copy(state)]
      optimizer.update(gradient, state, parameters)
      expect([gradient, parameters, state]).toEqual([gradientAt(2), before, stateBefore])
    })
  }

  it('compute the same bits as fixed here, which every machine must', () => {
    const bits = ({ parameters }: { parameters: Float32Array }) =>
      [...new Uint32Array(parameters.slice().buffer)].map((word) => word.toString(16))
    const schedule = warmUp(3, cosine({ peak: 0.1, steps: 20 }))
    const optimizer = chain(clipByGlobalNorm(1), adamw({ learningRate: schedule }))
    expect(bits(train(optimizer, 15))).toEqual(BITS)
  })

  it('refuse a state that is not theirs', () => {
    const other = sgd({ learningRate: 0.1 }).init(4)
    expect(() => adam({ learningRate: 0.1 }).update(gradientAt(0), other, gradientAt(0))).toThrow(
      /state must have "0", the state of a rule, got undefined/,
    )
    expect(() => accumulate(0.9).update(gradientAt(0), accumulate(0.9).init(3), gradientAt(0))).toThrow(
      /state must have "momentum", 4 float32 values, got 3 float32 values/,
    )
    expect(() => sgd({ learningRate: 1 }).update(gradientAt(0), {}, gradientAt(0))).toThrow(
      /"step", a number, got undef/,
    )
  })

  it('clip only what is too long', () => {
    const clip = (gradient: Float32Array) => clipByGlobalNorm(5).update(gradient, {}, gradient).updates
    expect([...clip(Float32Array.of(3, -4))]).toEqual([3, -4])
    expect([...clip(Float32Array.of(30, -40))]).toEqual([3, -4])
    expect([...clip(Float32Array.of(0, 0))]).toEqual([0, 0])
    expect(globalNorm(Float32Array.of(3, -4))).toBe(5)
  })

  it('take the mean over all samples, of which there must be some', () => {
    expect([...meanGradient(Float32Array.of(3, -6), 4)]).toEqual([0.75, -1.5])
    for (const n of [0, -1, NaN]) expect(() => meanGradient(Float32Array.of(1), n)).toThrow(RpcError)
  })
})

const BITS = ['3f563c09', 'c015e052', '3eaa7f6c', 'bd33a250']

describe('schedules', () => {
  it('fall by half a cosine and stay', () => {
    const schedule = cosine({ peak: 3, steps: 7, end: 1 })
    for (let step = 0; step <= 7; step++) {
      expect(schedule(step)).toBeCloseTo(1 + 2 * 0.5 * (1 + Math.cos(Math.PI * step / 7)), 14)
    }
    expect(schedule(0)).toBe(3)
    expect(schedule(8)).toBe(schedule(7))
    expect(schedule(7)).toBeCloseTo(1, 14)
  })

  it('rise in a line before', () => {
    const schedule = warmUp(4, cosine({ peak: 2, steps: 10 }))
    expect([0, 1, 2, 3, 4].map(schedule)).toEqual([0.5, 1, 1.5, 2, 2])
    expect(schedule(9)).toBe(cosine({ peak: 2, steps: 10 })(5))
    expect(warmUp(2, constant(3))(100)).toBe(3)
  })

  it('refuse lengths that are none', () => {
    for (const steps of [0, -1, 1.5]) {
      expect(() => cosine({ peak: 1, steps })).toThrow(/whole number of steps from 1 up, got/)
      expect(() => warmUp(steps, constant(1))).toThrow(RpcError)
    }
  })
})

function copy(state: OptimizerState): OptimizerState {
  return structuredClone(state)
}

describe('a gradient that may be overwritten', () => {
  const rules: Record<string, Optimizer> = {
    descent: sgd({ learningRate: 0.1 }),
    momentum: sgd({ learningRate: 0.1, momentum: 0.9 }),
    nesterov: sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true }),
    adam: adam({ learningRate: 0.1 }),
    'clipped adamw': chain(clipByGlobalNorm(1), adamw({ learningRate: 0.1 })),
  }
  for (const [name, optimizer] of Object.entries(rules)) {
    it(`gives the same bits with ${name}, and no state is overwritten`, () => {
      let parameters = Float32Array.from(START)
      let state: OptimizerState = optimizer.init(4)
      for (let step = 0; step < 5; step++) {
        const before = JSON.stringify(state)
        const result = optimizer.update(gradientAt(step), state, parameters, { gradient: true })
        const after = JSON.stringify(result.state)
        const last = Float32Array.from(parameters)
        const next = applyUpdates(parameters, result.updates, result.isOwn)
        expect([JSON.stringify(state), JSON.stringify(result.state)]).toEqual([before, after])
        expect(parameters).toEqual(last)
        parameters = next
        state = result.state
      }
      expect({ parameters, state }).toEqual(train(optimizer, 5))
    })

    it(`gives the same bits with ${name} where the state may be overwritten too, but not the parameters`, () => {
      let parameters = Float32Array.from(START)
      let state: OptimizerState = optimizer.init(4)
      for (let step = 0; step < 5; step++) {
        const last = Float32Array.from(parameters)
        const result = optimizer.update(gradientAt(step), state, parameters, { gradient: true, state: true })
        const after = JSON.stringify(result.state)
        const next = applyUpdates(parameters, result.updates, result.isOwn)
        expect(JSON.stringify(result.state)).toBe(after)
        expect(parameters).toEqual(last)
        parameters = next
        state = result.state
      }
      expect({ parameters, state }).toEqual(train(optimizer, 5))
    })
  }
})
