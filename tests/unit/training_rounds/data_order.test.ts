import { describe, expect, it } from 'vitest'
import { type DataOrder, shardRowsOf, shuffle, stepsPerEpoch } from '../../../shared/training/data_order.ts'

const ORDER: DataOrder = { rows: 100, shardRows: 4, shards: 8, seed: 9, shuffled: true }

describe('shuffle', () => {
  it('is a permutation for every count, seed and epoch', () => {
    for (let count = 1; count <= 130; count++) {
      const place = shuffle(count, count * 7, count % 5)
      const seen = new Set(Array.from({ length: count }, (_, i) => place(i)))
      expect(seen.size, `count ${count}`).toBe(count)
      expect(Math.max(...seen)).toBe(count - 1)
    }
  })

  it('depends on seed and epoch, and on nothing else', () => {
    const first = (seed: number, epoch: number) => Array.from({ length: 20 }, (_, i) => shuffle(1000, seed, epoch)(i))
    expect(first(1, 0)).toEqual(first(1, 0))
    expect(first(1, 0)).not.toEqual(first(2, 0))
    expect(first(1, 0)).not.toEqual(first(1, 1))
  })

  it('leaves no place likelier than another', () => {
    // 4,000 draws of where row 0 of 10 goes: each place expects 400, with a standard deviation of 19.
    const places = new Array<number>(10).fill(0)
    for (let epoch = 0; epoch < 4000; epoch++) {
      const at = shuffle(10, 3, epoch)(0)
      places[at] = (places[at] ?? 0) + 1
    }
    for (const count of places) expect(Math.abs(count - 400)).toBeLessThan(6 * 19)
  })
})

describe('rows of a shard', () => {
  it('take every row once per epoch, and pad the last step with weight 0', () => {
    expect(stepsPerEpoch(ORDER)).toBe(4)
    const seen: number[] = []
    let padded = 0
    for (let step = 0; step < 4; step++) {
      for (let shard = 0; shard < 8; shard++) {
        const { rows, weights } = shardRowsOf(ORDER, step, shard)
        for (const [i, row] of rows.entries()) {
          if (weights[i] === 1) seen.push(row)
          else padded++
        }
      }
    }
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(padded).toBe(4 * 32 - 100)
  })

  it('are the same rows in the same order however the step is cut', () => {
    const step = (shards: number) => {
      const order = { ...ORDER, shards, shardRows: 32 / shards }
      return Array.from({ length: shards }, (_, shard) => [...shardRowsOf(order, 2, shard).rows]).flat()
    }
    expect(step(8)).toEqual(step(1))
    expect(step(4)).toEqual(step(1))
  })

  it('differ from epoch to epoch, unless they are for validation', () => {
    expect(shardRowsOf(ORDER, 4, 0).rows).not.toEqual(shardRowsOf(ORDER, 0, 0).rows)
    expect([...shardRowsOf({ ...ORDER, shuffled: false }, 1, 2).rows]).toEqual([40, 41, 42, 43])
  })
})
