import { invalid } from '../wire/errors.ts'
import { type Block, treeSize } from './reduce_tree.ts'

/**
 * Cuts shards `from` to `to` into aligned subtrees of the reduction tree, so that their sums can be added in the tree's
 * order whoever computed them: [k·2^j, (k+1)·2^j), cut off at `to`.
 * @param wanted about how many units there should be; there are at least as many, as far as there are shards
 */
export function alignedUnits(from: number, to: number, wanted: number): Block[] {
  const count = to - from
  const whole = treeSize(count)
  if (count < 1 || from % whole !== 0) {
    throw invalid(`Cannot divide shards ${from} to ${to}: they must be an aligned block of at least one shard`)
  }
  let size = whole
  while (size > 1 && Math.ceil(count / size) < wanted) size /= 2
  const units: Block[] = []
  for (let start = from; start < to; start += size) units.push({ from: start, to: Math.min(start + size, to) })
  return units
}
