import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { Fence, WireFormat } from '../contracts/training.ts'
import type { Directory } from '../rpc/directory.ts'
import type { Codec } from '../wire/payload.ts'
import type { Tensor } from '../wire/tensor.ts'
import type { Block } from './reduce_tree.ts'

export interface RoundDriverDeps {
  clock: Clock
  metrics: Metrics
  log: Log
  directory: Directory
  /** How messages travel to the members. */
  codec: Codec
  /** Units that a member may hold at once: with two, the second is on its way while the first is computed. */
  slots: number
  /** Whether members are believed who say that another coordinator leads: relays are, workers could end a run with it. */
  trustsMembers: boolean
  /** Where a unit takes longer the further away it is computed, leases are longer: 1 for workers, more for relays. */
  patience: number
  /** Draws whose results another member computes again. Without it none are: members are trusted with their sums. */
  random?: Random
}

export interface RoundJob {
  fence: Fence
  /** SHA-256 of the plan. */
  plan: string
  /** The plan's step that the shards are of. */
  dataStep: number
  format: WireFormat
  /** float32; sent to a member once per step. */
  values: Tensor
  /** Values in each sum. */
  length: number
  /** What to sum, and the units in which to lease it. */
  whole: Block
  units: readonly Block[]
}

export interface RoundOutcome {
  /** The caller's own. */
  sum: Float32Array
  /** Workers that took part. */
  workers: number
  /** Bytes of tensors sent to members and received from them. */
  sentBytes: number
  receivedBytes: number
}
