import type { Clock } from '../../shared/base/clock.ts'
import { verifyEnrolToken } from '../../shared/relay/enrol_token.ts'
import type { OnceStore } from '../../shared/stores/once_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'

/**
 * Admits a worker by its enrolment token, once.
 * @param deps `clock` must follow wall time, which tokens are dated by
 * @throws RpcError `unauthenticated` if the token is no good, too old, or was used before
 */
export async function admitOnce(
  token: string,
  relay: string,
  deps: { secret: string; once: OnceStore; clock: Pick<Clock, 'now'> },
): Promise<{ volunteer: boolean }> {
  const { jti, expiresAtMs, volunteer } = await verifyEnrolToken(deps.secret, relay, token)
  if (!await deps.once.claim(`enrol:${jti}`, Math.max(1, expiresAtMs - deps.clock.now()))) {
    throw new RpcError('unauthenticated', 'Cannot enrol the worker: the enrolment token was used before')
  }
  return { volunteer }
}
