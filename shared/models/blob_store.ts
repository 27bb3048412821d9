import { invalid } from '../wire/errors.ts'

/**
 * The port behind models: named byte objects. Implementations: file_blob_store.ts (Node, Deno) and r2_blob_store.ts,
 * under one conformance suite. Keys are '/'-separated names of [A-Za-z0-9._-]; nothing else is accepted. No key may be
 * the folder of another ('a' and 'a/b'): a file system cannot hold both.
 */
export interface BlobStore {
  /** Writes an object whole or not at all; an existing one is replaced. */
  put(key: string, bytes: Uint8Array): Promise<void>
  /** Writes only if the key is free. Answers whether it wrote. */
  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean>
  /**
   * The object as a stream, with its size; undefined if there is none. Read it to its end, or cancel it.
   * @param range a part of it that lies within it; `size` is that of the whole all the same
   */
  open(key: string, range?: BlobRange): Promise<{ size: number; stream: ReadableStream<Uint8Array> } | undefined>
  /** Keys that start with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>
  /** Removes an object; a missing one is no error. */
  delete(key: string): Promise<void>
}

/** Bytes from `offset` on; `length` is above 0. */
export interface BlobRange {
  offset: number
  length: number
}

/** R2 takes keys of 1,024 bytes; file systems take names of 255. */
const MAX_KEY_LENGTH = 1024
const MAX_NAME_LENGTH = 250
const NAME = /^[A-Za-z0-9._-]+$/

/** @throws RpcError `invalid_argument` unless the key is a path of plain names: '..' and the like must not leave the store */
export function checkKey(key: string): string {
  const fits = key.length <= MAX_KEY_LENGTH && key.split('/').every(isName)
  if (!fits) {
    throw invalid(
      `Cannot use a blob: its key must be names of [A-Za-z0-9._-] joined by '/', got ${JSON.stringify(key)}`,
    )
  }
  return key
}

/** True if `text` may be one part of a key. */
export function isName(text: string): boolean {
  return NAME.test(text) && text.length <= MAX_NAME_LENGTH && text !== '.' && text !== '..'
}
