import { philox } from './philox.ts'

/** Which rows of a data set a step is made of: nothing but numbers, the same for whoever asks. */
export interface DataOrder {
  readonly rows: number
  /** Rows per shard, and shards per step. */
  readonly shardRows: number
  readonly shards: number
  readonly seed: number
  /** False for evaluation: rows in their own order. */
  readonly shuffled: boolean
}

export interface ShardRows {
  /** One row number for each of the shard's rows; what pads the last step of an epoch repeats row 0. */
  readonly rows: Uint32Array
  /** 1, or 0 for padding: it adds exactly nothing. */
  readonly weights: Float32Array
}

/** Steps until every row was used once. */
export function stepsPerEpoch({ rows, shardRows, shards }: DataOrder): number {
  return Math.ceil(rows / (shardRows * shards))
}

/** The rows of one shard of a step, counted over all epochs: a pure function, so the step number is all of the cursor. */
export function shardRowsOf(order: DataOrder, step: number, shard: number): ShardRows {
  const { rows: count, shardRows, shards } = order
  const perEpoch = stepsPerEpoch(order)
  const epoch = Math.floor(step / perEpoch)
  const first = (step % perEpoch) * shardRows * shards + shard * shardRows
  const rows = new Uint32Array(shardRows)
  const weights = new Float32Array(shardRows)
  const place = order.shuffled ? shuffle(count, order.seed, epoch) : (index: number) => index
  for (let i = 0; i < shardRows && first + i < count; i++) {
    rows[i] = place(first + i)
    weights[i] = 1
  }
  return { rows, weights }
}

/** Sets these numbers apart from whatever else a run draws from its seed. */
const DOMAIN = 0x73687566
const ROUNDS = 4

/**
 * A permutation of 0 … count − 1 drawn by (seed, epoch), one element at a time and without a table: a Feistel network over
 * the next power of four, walked until it lands inside. Ref: Luby and Rackoff 1988; Black and Rogaway 2002.
 */
export function shuffle(count: number, seed: number, epoch: number): (index: number) => number {
  const halfBits = Math.max(1, Math.ceil(Math.log2(Math.max(2, count)) / 2))
  const half = 2 ** halfBits
  const step = (value: number) => {
    let left = Math.floor(value / half)
    let right = value % half
    for (let round = 0; round < ROUNDS; round++) {
      const mixed = (philox([right, round, epoch, 0], [seed, DOMAIN])[0] ?? 0) % half
      ;[left, right] = [right, left ^ mixed]
    }
    return left * half + right
  }
  return (index) => {
    let value = step(index)
    // On average fewer than four steps: the domain is at most four times as large.
    while (value >= count) value = step(value)
    return value
  }
}
