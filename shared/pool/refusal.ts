import { DEFAULTS } from '../base/defaults.ts'
import { RpcError } from '../wire/errors.ts'
import { inMiB, type Shortage } from './capacity.ts'

/**
 * @param sent whether a worker had taken the call before it was lost, and may have begun it
 * @param barred workers that there are, and that were found to compute this model wrong
 */
export function noWorkers(sent: boolean, barred: number): RpcError {
  const but = barred > 0 ? ` but ${barred} that computed it wrong` : ''
  return new RpcError('unavailable', `Cannot run the model: no worker is connected${but}`, {
    retryAfterMs: DEFAULTS.retryAfterMs,
    neverSent: !sent,
  })
}

/**
 * Coming again will not help, as long as nobody brings a larger worker. Another pool may have one.
 * @param shortage of the worker that comes closest
 */
export function tooSmall(
  { limit, what, neededBytes, availableBytes }: Shortage,
  workers: number,
  sent: boolean,
): RpcError {
  return new RpcError(
    'failed_precondition',
    `Cannot run the model: a worker must take ${
      inMiB(neededBytes)
    } MiB for ${what}, got ${workers} of which the largest takes ${inMiB(availableBytes)}`,
    { details: [{ limit, neededBytes, largestBytes: availableBytes }], neverSent: !sent },
  )
}
