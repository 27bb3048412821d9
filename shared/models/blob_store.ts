/**
 * The port behind models: named byte objects. Implementations: file_blob_store.ts (Node, Deno) and r2_blob_store.ts,
 * under one conformance suite. Keys are '/'-separated names of [A-Za-z0-9._-]; nothing else is accepted.
 */
export interface BlobStore {
  /** Writes an object whole or not at all; an existing one is replaced. */
  put(key: string, bytes: Uint8Array): Promise<void>
  /** Writes only if the key is free. Answers whether it wrote. */
  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean>
  /** The object as a stream, with its size; undefined if there is none. */
  open(key: string): Promise<{ size: number; stream: ReadableStream<Uint8Array> } | undefined>
  /** Keys that start with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>
  /** Removes an object; a missing one is no error. */
  delete(key: string): Promise<void>
}
