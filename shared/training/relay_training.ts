import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import { Training } from '../contracts/training.ts'
import type { Directory } from '../rpc/directory.ts'
import { implement, type Implementation } from '../rpc/server.ts'
import { RpcError } from '../wire/errors.ts'
import { RoundDriver } from './round_driver.ts'
import { RunFences } from './run_fences.ts'
import { alignedUnits } from './units.ts'
import { packSum } from './wire_format.ts'

export interface RelayTrainingDeps {
  clock: Clock
  metrics: Metrics
  log: Log
  /** Draws whose results are computed again by another worker. */
  random: Random
  /** The relay's workers. */
  directory: Directory
}

/**
 * Blocks that each worker gets in a step, if there are shards enough. A worker adds a block's shards itself, so that one sum
 * of them travels; more blocks are computed again in smaller parts, and shared out more evenly where workers differ.
 */
const UNITS_PER_WORKER = 4

/**
 * A relay's part in training: it passes the parameters on to each of its workers once, leases them the shards of a block
 * in smaller ones, and answers with the one sum. What goes in and out of it does not depend on how many workers it has.
 */
export function relayTraining(deps: RelayTrainingDeps): Implementation {
  const fences = new RunFences()
  const driver = new RoundDriver({ ...deps, codec: 'tensors', slots: 2, trustsMembers: false, patience: 1 })
  return implement(Training, {
    async reduce({ fence, plan, attempt, dataStep, from, to, format, length, values: sent }, { signal }) {
      const values = fences.admit(fence, sent)
      const workers = deps.directory.list().length
      if (workers === 0) {
        throw new RpcError('unavailable', 'Cannot compute the shards: no worker is connected', { neverSent: true })
      }
      const outcome = await driver.run({
        fence,
        plan,
        dataStep,
        format,
        values,
        length,
        whole: { from, to },
        // What int8 rounds off is kept by shard.
        units: alignedUnits(from, to, format === 'int8' ? to - from : Math.min(to - from, workers * UNITS_PER_WORKER)),
      }, signal)
      return { fence, attempt, dataStep, from, to, sum: packSum(format, outcome.sum), workers: outcome.workers }
    },
  })
}
