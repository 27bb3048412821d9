import { decodeUtf8, encodeUtf8, readAll } from '../base/bytes.ts'
import type { Bytes } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import type { BlobStore } from '../models/blob_store.ts'
import { RpcError } from '../wire/errors.ts'

/** A message in one of the codecs that HTTP knows: params of a call, or what it returned. */
export interface Message {
  codec: 'json' | 'msgpack'
  body: Bytes
}

/** What a job does, as the queue keeps it in JSON. */
export interface JobTask {
  service: string
  method: string
  version: string
  group: string
  timeoutMs: number
  traceparent: string
  params: Kept
}

/** A message at rest: text in the queue (base64 for msgpack) where it is short, else a blob's key. */
export type Kept = { codec: Message['codec'] } & ({ text: string } | { blob: string })

/** Every blob of a job begins with this. */
export function blobPrefix(id: string): string {
  return `jobs/${id}.`
}

/** Keeps a message, in a blob of that key if it is too long for the queue. */
export async function keep(message: Message, blobs: BlobStore, key: string): Promise<Kept> {
  const { codec, body } = message
  // A margin for what stands around it, and for quotes, which JSON escapes: those may double a text at worst.
  if (body.byteLength <= MAX_TEXT_BYTES) {
    const text = codec === 'json' ? decodeUtf8(body) : toBase64(body)
    if (JSON.stringify(text).length <= LIMITS.maxInlineJobBytes - ROOM) return { codec, text }
  }
  try {
    await blobs.put(key, body)
  } catch (cause) {
    if (cause instanceof RpcError) throw cause
    throw new RpcError('unavailable', 'Cannot keep the job: the blob store must take its payload', { cause })
  }
  return { codec, blob: key }
}

const ROOM = 4096
const MAX_TEXT_BYTES = LIMITS.maxInlineJobBytes - ROOM

/** @throws RpcError `data_loss` if its blob is gone, `unavailable` if it cannot be read now */
export async function recall(kept: Kept, blobs: BlobStore): Promise<Message> {
  const { codec } = kept
  if ('text' in kept) return { codec, body: codec === 'json' ? encodeUtf8(kept.text) : fromBase64(kept.text) }
  const found = await blobs.open(kept.blob).catch((cause) => {
    throw new RpcError('unavailable', 'Cannot read the job: the blob store must give its payload', { cause })
  })
  const body = found && await readAll(found.stream, LIMITS.maxMessageBytes)
  if (!body) throw new RpcError('data_loss', `Cannot read the job: its payload ${kept.blob} is gone`)
  return { codec, body }
}

/** Removes all blobs of a job. */
export async function removeBlobs(id: string, blobs: BlobStore): Promise<void> {
  for (const key of await blobs.list(blobPrefix(id))) await blobs.delete(key)
}

function toBase64(bytes: Uint8Array): string {
  let text = ''
  // In parts: a call takes so many arguments and no more.
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000))
  return btoa(text)
}

function fromBase64(text: string): Bytes {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
}
