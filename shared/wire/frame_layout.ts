/** Frames of the `shoal.v1` socket protocol. The layout and its rules are in PROTOCOL.md. */
export const FRAME_TYPES = {
  request: 1,
  response: 2,
  chunk: 3,
  end: 4,
  cancel: 5,
  hello: 6,
  welcome: 7,
  goodbye: 8,
  credit: 9,
} as const

export type FrameType = keyof typeof FRAME_TYPES

export interface Frame {
  type: FrameType
  /** Names a call; chosen by the side that made it. 0 where no call is meant. */
  id: number
  header: Readonly<Record<string, unknown>>
  /** The body's parts; each starts at a multiple of 8 in the body. */
  parts: readonly Uint8Array[]
}

/** Pings are text, so that a hibernating relay's runtime answers them without waking it. */
export const PING = 'ping'
export const PONG = 'pong'

export const MAGIC = 0x53
export const VERSION = 1
export const PREFIX_BYTES = 12
/** The only flag: more fragments of this frame follow. */
export const MORE = 1
