import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import { type Block, ReduceTree, treeSize } from '../../../shared/training/reduce_tree.ts'
import { RpcError } from '../../../shared/wire/errors.ts'

/** Vectors whose sum depends on the order, in float32. */
const LENGTH = 5
const random = seededRandom(3)
const vectors = Array.from({ length: 32 }, () => {
  return Float32Array.from({ length: LENGTH }, () => (random() - 0.5) * 10 ** Math.floor(6 * random()))
})
const vector = (shard: number) => vectors[shard] ?? new Float32Array(LENGTH)

/** The sum by definition: of the left and the right half, the left being the largest power of two below. */
function byDefinition({ from, to }: Block): Float32Array {
  if (to - from === 1) return vector(from)
  const middle = from + treeSize(to - from) / 2
  const [left, right] = [byDefinition({ from, to: middle }), byDefinition({ from: middle, to })]
  return left.map((value, i) => value + (right[i] ?? NaN))
}

const bits = (values: Float32Array | undefined) => values && [...new Uint32Array(values.slice().buffer)]
const leaf = (shard: number) => ({ from: shard, to: shard + 1, sum: vector(shard) })
const shuffle = (count: number) => Array.from({ length: count }, (_, i) => i).sort(() => random() - 0.5)

describe('ReduceTree', () => {
  it('adds as the tree is defined, whatever the number of shards and their order', () => {
    for (let count = 1; count <= 19; count++) {
      const expected = bits(byDefinition({ from: 0, to: count }))
      for (let round = 0; round < 4; round++) {
        const tree = new ReduceTree({ from: 0, to: count }, LENGTH)
        for (const [i, shard] of (round === 0 ? shuffle(count).sort((a, b) => a - b) : shuffle(count)).entries()) {
          expect(tree.sum).toBeUndefined()
          expect(tree.add(leaf(shard)), `${i}`).toBe(true)
        }
        expect(bits(tree.sum), `${count} shards`).toEqual(expected)
      }
    }
  })

  it('depends on the order where none is fixed', () => {
    const inOrder = (order: readonly number[]) =>
      order.reduce((sum, shard) => sum.map((value, i) => value + (vector(shard)[i] ?? 0)), new Float32Array(LENGTH))
    const sums = new Set(Array.from({ length: 10 }, () => String(bits(inOrder(shuffle(19))))))
    expect(sums.size).toBeGreaterThan(1)
  })

  it('takes blocks that were added elsewhere', () => {
    for (const count of [5, 8, 11, 16, 19]) {
      for (let size = 1; size <= 16; size *= 2) {
        const tree = new ReduceTree({ from: 0, to: count }, LENGTH)
        const starts = Array.from({ length: Math.ceil(count / size) }, (_, i) => i * size).sort(() => random() - 0.5)
        for (const from of starts) {
          const block = { from, to: Math.min(from + size, count) }
          const relay = new ReduceTree(block, LENGTH)
          for (const i of shuffle(block.to - from)) relay.add(leaf(from + i))
          expect(tree.add({ ...block, sum: relay.sum ?? new Float32Array() })).toBe(true)
        }
        expect(bits(tree.sum)).toEqual(bits(byDefinition({ from: 0, to: count })))
      }
    }
  })

  it('passes on what it has in the fewest blocks', () => {
    const tree = new ReduceTree({ from: 0, to: 11 }, LENGTH)
    for (const shard of [9, 2, 10, 3, 8, 0, 6]) tree.add(leaf(shard))
    expect(tree.blocks().map(({ from, to }) => [from, to])).toEqual([[0, 1], [2, 4], [6, 7], [8, 11]])
    expect(bits(tree.blocks()[3]?.sum)).toEqual(bits(byDefinition({ from: 8, to: 11 })))
    const upstream = new ReduceTree({ from: 0, to: 11 }, LENGTH)
    for (const block of tree.blocks()) upstream.add(block)
    for (const shard of [1, 4, 5, 7]) upstream.add(leaf(shard))
    expect(bits(upstream.sum)).toEqual(bits(byDefinition({ from: 0, to: 11 })))
  })

  it('counts nothing twice', () => {
    const tree = new ReduceTree({ from: 0, to: 4 }, LENGTH)
    expect(tree.add(leaf(0))).toBe(true)
    expect(tree.add(leaf(0))).toBe(false)
    expect(tree.add(leaf(1))).toBe(true)
    expect(tree.add(leaf(1))).toBe(false)
    // The block holds a shard that has come and one that has not.
    tree.add(leaf(2))
    expect(tree.add({ from: 2, to: 4, sum: byDefinition({ from: 2, to: 4 }) })).toBe(true)
    expect(bits(tree.sum)).toEqual(bits(byDefinition({ from: 0, to: 4 })))
    for (const block of [leaf(3), { from: 0, to: 4, sum: vector(0) }]) expect(tree.add(block)).toBe(false)
  })

  it('leaves what it is given as it was', () => {
    const given = Array.from({ length: 8 }, (_, shard) => vector(shard).slice())
    const tree = new ReduceTree({ from: 0, to: 8 }, LENGTH)
    for (const [shard, sum] of given.entries()) tree.add({ from: shard, to: shard + 1, sum })
    expect(given).toEqual(given.map((_, shard) => vector(shard)))
  })

  it('refuses what does not fit', () => {
    const tree = new ReduceTree({ from: 0, to: 6 }, LENGTH)
    const blocks = [[1, 3], [0, 3], [4, 8], [6, 7], [-1, 0], [2, 2], [3, 2], [0.5, 1.5], [0, NaN], [
      0,
      Infinity,
    ]] as const
    for (const [from, to] of blocks) {
      expect(() => tree.add({ from, to, sum: vector(0) }), `${from} to ${to}`).toThrow(RpcError)
      expect(() => tree.add({ from, to, sum: vector(0) })).toThrow(/aligned block within 0 to 6/)
    }
    expect(() => tree.add({ from: 0, to: 1, sum: new Float32Array(4) })).toThrow(/must have length 5, got 4/)
    for (const [from, to] of [[4, 9], [2, 5], [3, 3]] as const) {
      expect(() => new ReduceTree({ from, to }, 1), `${from} to ${to}`).toThrow(/aligned block/)
    }
    expect(tree.blocks()).toEqual([])
  })
})
