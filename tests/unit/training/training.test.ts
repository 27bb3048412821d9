import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import { adam, adamw, chain, clipByGlobalNorm, type Optimizer, sgd } from '../../../shared/training/optimizers.ts'
import { ReduceTree } from '../../../shared/training/reduce_tree.ts'
import { cosine, warmUp } from '../../../shared/training/schedules.ts'
import { cnnTask, mlpTask, type ToyTask, transformerTask } from './toy_tasks.ts'
import { Trainer } from './train.ts'

const STEPS = 60

describe('sixty steps', () => {
  const cases: Record<string, [ToyTask, Optimizer]> = {
    'an MLP by momentum': [mlpTask, sgd({ learningRate: 0.2, momentum: 0.9, nesterov: true })],
    'a CNN by Adam': [cnnTask, adam({ learningRate: 0.01 })],
    'a transformer by AdamW, clipped, on a schedule': [
      transformerTask,
      chain(clipByGlobalNorm(1), adamw({ learningRate: warmUp(5, cosine({ peak: 0.01, steps: STEPS, end: 0.001 })) })),
    ],
  }
  for (const [name, [task, optimizer]] of Object.entries(cases)) {
    it(`teach ${name}`, async () => {
      await using trainer = await Trainer.open(task, 32)
      const { losses } = await trainer.train(optimizer, STEPS, 1)
      const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
      expect(mean(losses.slice(-5))).toBeLessThan(0.5 * mean(losses.slice(0, 5)))
    })
  }
})

describe('one batch of 64 and eight shards of 8', () => {
  const optimizers: Record<string, Optimizer> = {
    momentum: sgd({ learningRate: 0.1, momentum: 0.9 }),
    Adam: adam({ learningRate: 0.003 }),
  }
  for (const [name, optimizer] of Object.entries(optimizers)) {
    it(`come to the same weights by ${name}`, async () => {
      await using whole = await Trainer.open(mlpTask, 64)
      await using parts = await Trainer.open(mlpTask, 8)
      const one = await whole.train(optimizer, STEPS, 1)
      const eight = await parts.train(optimizer, STEPS, 8)
      const farthest = one.parameters.reduce(
        (most, p, i) => Math.max(most, Math.abs(p - (eight.parameters[i] ?? NaN))),
        0,
      )
      expect(farthest).toBeLessThan(1e-6)
      // They moved at all, and the sums are in another order.
      const moved = one.parameters.some((p, i) => Math.abs(p - (whole.graph.initial[i] ?? NaN)) > 0.05)
      expect(moved).toBe(true)
    })
  }
})

describe('the weights have the same bits', () => {
  it('whatever the order of arrival, however often a shard is computed, whoever adds a block', async () => {
    await using trainer = await Trainer.open(mlpTask, 8)
    const optimizer = adam({ learningRate: 0.01 })
    const shards = 11
    const expected = await trainer.train(optimizer, 10, shards)
    const random = seededRandom(9)
    const shuffled = await trainer.train(optimizer, 10, shards, async (tree, compute) => {
      const order = Array.from({ length: shards }, (_, i) => i).sort(() => random() - 0.5)
      for (const shard of order) {
        tree.add({ from: shard, to: shard + 1, sum: await compute(shard) })
        // A late result of a lease that was given to another.
        if (random() < 0.3) expect(tree.add({ from: shard, to: shard + 1, sum: await compute(shard) })).toBe(false)
      }
    })
    expect(new Uint8Array(shuffled.parameters.buffer)).toEqual(new Uint8Array(expected.parameters.buffer))
    expect(shuffled.losses).toEqual(expected.losses)

    const relayed = await trainer.train(optimizer, 10, shards, async (tree, compute) => {
      for (const [from, to] of [[8, 11], [4, 8], [0, 4]] as const) {
        const relay = new ReduceTree({ from, to }, trainer.graph.parameterCount + 2)
        for (let shard = to - 1; shard >= from; shard--) {
          relay.add({ from: shard, to: shard + 1, sum: await compute(shard) })
        }
        for (const block of relay.blocks()) tree.add(block)
      }
    })
    expect(new Uint8Array(relayed.parameters.buffer)).toEqual(new Uint8Array(expected.parameters.buffer))
  })
})
