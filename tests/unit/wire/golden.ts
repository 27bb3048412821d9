import { toHex } from '../../../shared/base/bytes.ts'

/**
 * The bytes of `shoal.v1`, fixed: an implementation in any language must make and read exactly these. A change here is
 * a change of the protocol. PROTOCOL.md explains some of them byte by byte.
 */
export { MESSAGES, type MessageVector } from './golden_messages.ts'
export { FRAMES, type FrameVector } from './golden_frames.ts'

export function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  const digits = hex.replace(/\s+/g, '')
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) => parseInt(digits.slice(2 * i, 2 * i + 2), 16))
}

/** Hex without its spaces, to compare with what was made. */
export function compact(hex: string): string {
  return toHex(fromHex(hex))
}
