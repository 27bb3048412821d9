import { invalid } from '../wire/errors.ts'

/**
 * Shards from `from` up to, but not including, `to`: a whole subtree of the binary tree over shard numbers, that is
 * [k·2^j, (k+1)·2^j), cut off where the shards end.
 */
export interface Block {
  readonly from: number
  readonly to: number
}

/** The sum of a block's vectors. */
export interface BlockSum extends Block {
  readonly sum: Float32Array
}

interface Held extends BlockSum {
  /** Nobody else reads the array, so it may be added to. */
  readonly own: boolean
}

/**
 * Adds vectors in a fixed binary tree over shard numbers: neighbours first, then pairs of pairs. A sum depends on its
 * operands alone, never on when or from whom they came; so the result has the same bits whatever the order of arrival,
 * whoever computed a shard, and whichever blocks were added elsewhere, by the same tree. Where the shards are no power
 * of two, a block without a neighbour moves up as it is.
 *
 * Holds at most one vector per pair of neighbours that is not complete; for shards that come in order, log₂ of them.
 */
export class ReduceTree {
  readonly #whole: Block
  readonly #length: number
  /** By first shard. */
  readonly #held = new Map<number, Held>()

  /**
   * @param whole what to sum: all shards of a step from 0, or, at a relay, one block of them
   * @param length elements of each vector
   * @throws RpcError `invalid_argument` if `whole` is not aligned
   */
  constructor(whole: Block, length: number) {
    checkAligned(whole, whole)
    this.#whole = whole
    this.#length = length
  }

  /**
   * Adds a shard, or a block that was summed elsewhere. A block replaces parts of it that came before: their bits are
   * the same.
   * @param sum read until the block beside it has come: it must not change
   * @param isOwn the sum is the tree's from now on and may be added to; else it is not modified
   * @returns false if all of the block was there already; then nothing changes
   * @throws RpcError `invalid_argument` if the block is not aligned or outside, or the vector has another length
   */
  add({ from, to, sum }: BlockSum, isOwn = false): boolean {
    checkAligned({ from, to }, this.#whole)
    if (sum.length !== this.#length) {
      throw invalid(
        `Cannot add shards ${from} to ${to}: the vector must have length ${this.#length}, got ${sum.length}`,
      )
    }
    for (const held of this.#held.values()) {
      if (held.from <= from && to <= held.to) return false
      if (from <= held.from && held.to <= to) this.#held.delete(held.from)
    }
    let part: Held = { from, to, sum, own: isOwn }
    for (let beside = this.#neighbour(part); beside; beside = this.#neighbour(part)) {
      this.#held.delete(beside.from)
      part = beside.from < part.from ? join(beside, part) : join(part, beside)
    }
    this.#held.set(part.from, part)
    return true
  }

  /** The sum of everything; undefined until all shards have come. */
  get sum(): Float32Array | undefined {
    const { from, to } = this.#whole
    const held = this.#held.get(from)
    return held?.to === to ? held.sum : undefined
  }

  /** What has come so far, in the fewest blocks, by shard: what a relay that must stop early passes on. */
  blocks(): BlockSum[] {
    return [...this.#held.values()].sort((a, b) => a.from - b.from).map(({ from, to, sum }) => ({ from, to, sum }))
  }

  /** The other child of its parent, if it has come. */
  #neighbour({ from, to }: Block): Held | undefined {
    const { to: end } = this.#whole
    let size = treeSize(to - from)
    // Nothing beside it: the parent is the block itself.
    while (from % (2 * size) === 0 && from + size >= end && size < treeSize(end - this.#whole.from)) size *= 2
    const isLeft = from % (2 * size) === 0
    const other = isLeft ? from + size : from - size
    const otherEnd = isLeft ? Math.min(from + 2 * size, end) : from
    const held = this.#held.get(other)
    return held?.to === otherEnd ? held : undefined
  }
}

/** Leaves of the smallest full binary tree that has `count` of them. */
export function treeSize(count: number): number {
  let size = 1
  while (size < count) size *= 2
  return size
}

/** left + right, element by element, rounded to float32. */
function join(left: Held, right: Held): Held {
  const sum = left.own ? left.sum : right.own ? right.sum : new Float32Array(left.sum.length)
  const [a, b] = [left.sum, right.sum]
  for (let i = 0; i < sum.length; i++) sum[i] = (a[i] as number) + (b[i] as number)
  return { from: left.from, to: right.to, sum, own: true }
}

function checkAligned({ from, to }: Block, whole: Block): void {
  const size = treeSize(to - from)
  const isBlock = Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && from < to &&
    from % size === 0 && (to === from + size || to === whole.to)
  if (isBlock && whole.from <= from && to <= whole.to) return
  throw invalid(
    `Cannot add shards: they must be an aligned block within ${whole.from} to ${whole.to}, got ${from} to ${to}`,
  )
}
