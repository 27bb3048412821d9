import { RpcError } from '../wire/errors.ts'

/** What a member answers that has not, or no longer, the parameters of this step. */
export function missingParameters(): RpcError {
  return new RpcError('failed_precondition', 'Cannot compute the shards: the parameters of this step must come first', {
    details: [{ missing: 'parameters' }],
  })
}

export function isMissing(error: RpcError): boolean {
  return error.details.some((detail) => (detail as { missing?: unknown } | null)?.missing === 'parameters')
}
