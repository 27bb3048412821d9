import { LIMITS } from '../base/limits.ts'
import { RpcError } from '../wire/errors.ts'
import { toPlain } from '../wire/plain.ts'

/** Statuses with which HTTP says more than Connect's map. Any other in an error's details is somebody else's. */
const OWN_STATUSES: readonly unknown[] = [405, 413, 415, 422]

/** The same error, answered with a status of HTTP's own. */
export function withStatus(status: 405 | 413 | 415 | 422, error: RpcError): RpcError {
  const { code, message, retryAfterMs, neverSent } = error
  return new RpcError(code, message, { details: [{ status }, ...error.details], retryAfterMs, neverSent })
}

/** The status of an error: Connect's map, but for the few cases where HTTP has a word of its own. */
export function httpStatusOf(error: RpcError): number {
  const own = statusIn(error.details[0])
  return typeof own === 'number' ? own : error.httpStatus
}

function statusIn(detail: unknown): unknown {
  const status = typeof detail === 'object' && detail !== null && 'status' in detail ? detail.status : undefined
  return OWN_STATUSES.includes(status) ? status : undefined
}

/** Connect's details are protobuf messages by name. Ours are plain data: they travel where Connect has room for them. */
interface ConnectDetail {
  type: string
  /** The message's bytes in base64: ours has none. */
  value: string
  debug: unknown
}

const DETAIL_TYPE = 'shoal.v1.Detail'

/** Connect's error JSON. Details that JSON cannot hold stay behind. */
export function writeConnectError(error: RpcError): { code: string; message: string; details?: ConnectDetail[] } {
  const { code, message } = error
  const details = error.details.filter((detail) => statusIn(detail) === undefined).slice(0, LIMITS.maxErrorDetails)
  return {
    code,
    message: message.slice(0, LIMITS.maxErrorLength).toWellFormed(),
    ...(details.length > 0 && { details: details.flatMap(toConnectDetail) }),
  }
}

function toConnectDetail(detail: unknown): ConnectDetail[] {
  const { type, value } = (detail ?? {}) as Partial<ConnectDetail>
  if (typeof type === 'string' && typeof value === 'string') return [detail as ConnectDetail]
  try {
    return [{ type: DETAIL_TYPE, value: '', debug: toPlain(detail, { name: 'an error', binary: false }) }]
  } catch {
    return []
  }
}

/** The details of a Connect error: ours as they were given, those of others as they came. */
export function readConnectDetails(details: unknown): unknown[] {
  if (!Array.isArray(details)) return []
  return details.slice(0, LIMITS.maxErrorDetails).map((detail: Partial<ConnectDetail> | null) => {
    return detail?.type === DETAIL_TYPE ? detail.debug : detail
  })
}
