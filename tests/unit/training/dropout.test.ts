import { describe, expect, it } from 'vitest'
import { type DropoutMask, dropoutMasks } from '../../../shared/training/dropout.ts'
import { newMlp } from '../../../shared/training/new_models.ts'
import { philox } from '../../../shared/training/philox.ts'
import { buildStepGraph, readStep } from '../../../shared/training/step_graph.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { modelWith } from '../../fixtures/training_models.ts'
import { run } from './wasm.ts'

describe('philox', () => {
  it('gives the words of the reference implementation', () => {
    // The known-answer tests of Random123.
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
    const ones = 0xffffffff
    expect(philox([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
    expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]))
      .toEqual([0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1])
  })
})

describe('dropout masks', () => {
  const mask = (shape: readonly number[], ratio = 0.25): DropoutMask => ({ name: 'm', shape, ratio })
  const valuesOf = (masks: Record<string, Tensor>, name = 'm') => [...masks[name]?.data as Float32Array]
  const samples = (count: number, first = 0) => Array.from({ length: count }, (_, i) => first + i)

  it('keep the given share, scaled so that the mean stays', () => {
    for (const ratio of [0.1, 0.5, 0.9]) {
      const values = valuesOf(dropoutMasks([mask([100, 97], ratio)], { seed: 1, step: 0, samples: samples(100) }))
      expect(new Set(values)).toEqual(new Set([0, Math.fround(1 / (1 - ratio))]))
      const dropped = values.filter((value) => value === 0).length / values.length
      // Five standard deviations of a share of 9,700.
      expect(Math.abs(dropped - ratio)).toBeLessThan(5 * Math.sqrt(ratio * (1 - ratio) / values.length))
    }
  })

  it('belong to the sample, not to the shard or row it is in', () => {
    const whole = valuesOf(dropoutMasks([mask([8, 5, 3])], { seed: 7, step: 2, samples: samples(8) }))
    const later = valuesOf(dropoutMasks([mask([2, 5, 3])], { seed: 7, step: 2, samples: [6, 1] }))
    expect(later).toEqual([...whole.slice(90, 105), ...whole.slice(15, 30)])
    // Several positions of a sample on the first axis.
    expect(valuesOf(dropoutMasks([mask([40, 3])], { seed: 7, step: 2, samples: samples(8) }))).toEqual(whole)
  })

  it('differ by seed, step, place and sample', () => {
    const draw = (seed: number, step: number, first: number) =>
      valuesOf(dropoutMasks([mask([4, 32])], { seed, step, samples: samples(4, first) }))
    const expected = draw(1, 1, 0)
    expect(draw(1, 1, 0)).toEqual(expected)
    for (const other of [draw(2, 1, 0), draw(1, 2, 0), draw(1, 1, 1)]) expect(other).not.toEqual(expected)
    const two = dropoutMasks([mask([4, 32]), { ...mask([4, 32]), name: 'other' }], {
      seed: 1,
      step: 1,
      samples: samples(4),
    })
    expect(valuesOf(two, 'other')).not.toEqual(valuesOf(two))
  })
})

describe('dropout in a step', () => {
  it('drops in the forward and in the backward pass', async () => {
    const model = newMlp({ inputs: 2, hidden: [3], outputs: 1, activation: 'Tanh', dropout: 0.5, seed: 4 })
    const graph = await buildStepGraph({ model, loss: 'meanSquaredError', batch: 1, run })
    expect(graph.dropout).toEqual([{ name: 'shoal.dropout.0', shape: [1, 3], ratio: 0.5 }])
    expect(graph.inputs.find(({ role }) => role === 'dropout')?.name).toBe('shoal.dropout.0')
    const step = async (kept: readonly number[]) => {
      const output = await run(graph.bytes, {
        'shoal.parameters': Tensor.from('float32', [graph.parameterCount], graph.initial),
        x: Tensor.from('float32', [1, 2], [0.3, -0.4]),
        'shoal.target': Tensor.from('float32', [1, 1], [0]),
        'shoal.weights': Tensor.from('float32', [1], [1]),
        'shoal.dropout.0': Tensor.from('float32', [1, 3], kept),
      })
      return readStep(graph, output['shoal.step'] as Tensor)
    }
    const [all, some, none] = [await step([1, 1, 1]), await step([2, 0, 0]), await step([0, 0, 0])]
    const last = graph.parameters.find(({ name }) => name === 'layer1.weight')
    const first = graph.parameters.find(({ name }) => name === 'layer0.weight')
    const part = ({ gradient }: { gradient: Float32Array }, of = last) => {
      return [...gradient.subarray(of?.offset, (of?.offset ?? 0) + (of?.size ?? 0))]
    }
    expect(none.loss).toBe(0)
    expect(some.loss).not.toBe(all.loss)
    // Only the unit that was kept learns, on both of its sides.
    expect(part(some).map((value) => value !== 0)).toEqual([true, false, false])
    expect(part(some, first).map((value) => value !== 0)).toEqual([true, false, false, true, false, false])
    expect(part(all).every((value) => value !== 0)).toBe(true)
  })

  it('is refused with a ratio that keeps nothing', async () => {
    const refused = (opset: number, ratio: number) =>
      buildStepGraph({
        model: modelWith('Dropout', { attributes: { ratio: { float: ratio } }, opset }),
        loss: 'meanSquaredError',
        batch: 1,
        run,
      })
    await expect(refused(11, 1)).rejects.toThrow(
      /"\/layer\/op" \(Dropout\) must have a ratio from 0 .* got 1; correct it/,
    )
    expect((await refused(11, 0.25)).dropout).toHaveLength(1)
    expect((await refused(11, 0)).dropout).toHaveLength(0)
  })
})
