import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { name, sha256 } from '../contracts/fields.ts'
import { DTYPE_LIST } from '../wire/dtype.ts'

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const dtype = z.enum(DTYPE_LIST)
const shape = z.array(count).max(LIMITS.maxRank)

/** Where one column of a file's rows lies: rows end to end, from `offset` on. */
const column = z.object({ dtype, rowShape: shape, offset: count, rowBytes: count })
export type Column = z.infer<typeof column>

const dataFile = z.object({
  rows: count,
  bytes: count,
  /** A blob is fetched whole and checked against its hash; a URL is read by range. */
  source: z.union([z.object({ sha256 }), z.object({ url: z.url() })]),
  columns: z.record(name, column),
})
export type DataFile = z.infer<typeof dataFile>

/** How an input of the graph is filled from a column: converted, then value · scale + shift. */
const feed = z.object({ input: name, dtype, shape, column: name, scale: z.number(), shift: z.number() })
export type Feed = z.infer<typeof feed>

const graphInput = z.object({ name, dtype, shape })

/**
 * All that a worker must know to compute any shard of any step, as a blob: whoever has its hash has everything, so that a
 * worker may come at any time and nothing has to be told twice.
 */
export const plan = z.object({
  /** SHA-256 of the step graph, or the evaluation graph. */
  graph: sha256,
  parameters: graphInput,
  weights: graphInput,
  feeds: z.array(feed).max(LIMITS.maxTensors),
  dropout: z.array(z.object({ name, shape, ratio: z.number().min(0).max(1) })).max(LIMITS.maxTensors),
  output: z.object({ name, length: count }),
  order: z.object({
    rows: count,
    shardRows: count,
    shards: count.max(LIMITS.maxShards),
    seed: z.number().int(),
    shuffled: z.boolean(),
  }),
  /** Rows of the files before the first that is used. */
  firstRow: count,
  files: z.array(dataFile),
})
export type Plan = z.infer<typeof plan>
