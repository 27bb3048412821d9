import { LIMITS } from '../base/limits.ts'
import { RpcError } from '../wire/errors.ts'

/** Why a side closes a socket, by the names of RFC 6455, section 7.4. PROTOCOL.md says when. */
export const CLOSE_CODES = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  unsupportedData: 1003,
  policyViolation: 1008,
  messageTooBig: 1009,
  internalError: 1011,
  tryAgainLater: 1013,
} as const

/** Scripts may not send the codes below 3000 (other than 1000): they send the code plus this. */
export const SCRIPT_OFFSET = 3000

/** What a message that could not be taken in closes its socket with. */
export function closeCodeOf(thrown: unknown, message: unknown): number {
  if (typeof message === 'string') return CLOSE_CODES.unsupportedData
  const bytes = message instanceof ArrayBuffer || ArrayBuffer.isView(message) ? message.byteLength : 0
  if (bytes > LIMITS.maxFrameBytes) return CLOSE_CODES.messageTooBig
  return RpcError.from(thrown).code === 'invalid_argument' ? CLOSE_CODES.protocolError : CLOSE_CODES.internalError
}

/** Bytes of UTF-8 that a close frame has room for beside its code. */
const MAX_REASON_BYTES = 123

/** A reason cut to what a close frame holds: a longer one would make `close` throw. */
export function closeReason(text: string): string {
  const bytes = new Uint8Array(MAX_REASON_BYTES)
  const { read } = new TextEncoder().encodeInto(text, bytes)
  return text.slice(0, read)
}
