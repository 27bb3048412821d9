import { type Bytes, concat } from '../base/bytes.ts'
import { invalid, RpcError } from '../wire/errors.ts'

/** A message of a stream over HTTP: https://connectrpc.com/docs/protocol#streaming-request */
export interface Envelope {
  flags: number
  data: Bytes
}

/** The data are packed, which nothing of ours does. */
export const COMPRESSED = 0b01
/** The data are no message but the stream's end, in JSON. */
export const END_OF_STREAM = 0b10

/** Flags in one byte, the length of what follows in four, big-endian. */
const PREFIX_BYTES = 5

export function sealEnvelope({ flags, data }: Envelope): Bytes {
  const sealed = new Uint8Array(PREFIX_BYTES + data.byteLength)
  sealed[0] = flags
  new DataView(sealed.buffer).setUint32(1, data.byteLength)
  sealed.set(data, PREFIX_BYTES)
  return sealed
}

/** @throws RpcError `invalid_argument` unless `body` is one whole message and nothing else */
export function openEnvelope(body: Bytes): Bytes {
  const length = body.byteLength < PREFIX_BYTES ? -1 : lengthIn(body)
  if (length !== body.byteLength - PREFIX_BYTES || body[0] !== 0) {
    const got = length < 0
      ? `${body.byteLength} bytes`
      : `flags ${body[0]} and a length of ${length} in ${body.byteLength} bytes`
    throw invalid(
      `Cannot read the request: its body must be one message in Connect's envelope, without compression, got ${got}`,
    )
  }
  return body.subarray(PREFIX_BYTES)
}

/**
 * Cuts a stream of bytes into envelopes, as they come. A declared length allocates nothing before its bytes are there.
 * The stream is cancelled when the reader stops, and after a failure.
 * @param maxBytes of one envelope's data
 * @throws RpcError `resource_exhausted` for a longer one, `data_loss` if the stream breaks off within one
 */
export async function* readEnvelopes(
  stream: ReadableStream<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Envelope, void, void> {
  const reader = stream.getReader()
  const held = new HeldBytes()
  try {
    for (;;) {
      if (!await fill(reader, held, PREFIX_BYTES)) {
        if (held.length > 0) throw brokenOff()
        return
      }
      const prefix = held.take(PREFIX_BYTES)
      const length = lengthIn(prefix)
      if (length > maxBytes) {
        const reason = `Cannot read the stream: a message may have at most ${maxBytes} bytes, got ${length}`
        throw new RpcError('resource_exhausted', reason)
      }
      if (!await fill(reader, held, length)) throw brokenOff()
      yield { flags: prefix[0] ?? 0, data: held.take(length) }
    }
  } finally {
    // Nobody waits for the other side to have heard of it: that may take as long as it likes.
    void reader.cancel().catch(() => {})
  }
}

/** @returns whether so many bytes are held now; false at the stream's end */
async function fill(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  held: HeldBytes,
  length: number,
): Promise<boolean> {
  while (held.length < length) {
    const { done, value } = await reader.read()
    if (done) return false
    held.push(value)
  }
  return true
}

function lengthIn(prefix: Uint8Array): number {
  return new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getUint32(1)
}

function brokenOff(): RpcError {
  return new RpcError('data_loss', 'Cannot read the stream: it broke off within a message')
}

/** Bytes as they came from a socket, to be taken in other portions. What lies in one piece is not copied. */
class HeldBytes {
  #parts: Uint8Array[] = []
  #length = 0

  get length(): number {
    return this.#length
  }

  push(part: Uint8Array): void {
    if (part.byteLength === 0) return
    this.#parts.push(part)
    this.#length += part.byteLength
  }

  take(length: number): Bytes {
    const taken: Uint8Array[] = []
    let missing = length
    let used = 0
    while (missing > 0) {
      const part = this.#parts[used]
      if (!part) break
      taken.push(part.subarray(0, missing))
      if (part.byteLength > missing) {
        this.#parts[used] = part.subarray(missing)
        missing = 0
      } else {
        missing -= part.byteLength
        used++
      }
    }
    this.#parts = used > 0 ? this.#parts.slice(used) : this.#parts
    this.#length -= length
    return concat(taken)
  }
}
