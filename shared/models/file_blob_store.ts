import { type FileHandle, link, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { newId } from '../base/random.ts'
import { makeFolder } from '../stores/file_folder.ts'
import { invalid } from '../wire/errors.ts'
import { type BlobRange, type BlobStore, checkKey, isName } from './blob_store.ts'

/** Where objects are written before they get their name. No key contains '~', so none can collide with it. */
const UNFINISHED = '~unfinished'
/** Few enough reads that the disk, not the stream, sets the pace; small enough to hold many at once. */
const CHUNK_BYTES = 256 * 1024

/** Objects as files under a folder, for Node and Deno. Several processes may share the folder. */
export class FileBlobStore implements BlobStore {
  readonly #root: string

  /** @param root a folder, made when first written to; it must be on one file system with hard links */
  constructor(root: string) {
    this.#root = root
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#write(key, bytes, rename)
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    try {
      // Unlike rename, link fails if the name is taken, and it names a file that is already whole.
      await this.#write(key, bytes, link)
      return true
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false
      throw error
    }
  }

  async open(
    key: string,
    range?: BlobRange,
  ): Promise<{ size: number; stream: ReadableStream<Uint8Array> } | undefined> {
    const file = await open(this.#path(key), 'r').catch(absent)
    if (!file) return undefined
    const stat = await file.stat()
    if (stat.isFile()) return { size: stat.size, stream: streamOfFile(file, range) }
    await file.close()
    return undefined
  }

  async list(prefix: string): Promise<string[]> {
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1)
    if (folder !== '') checkKey(folder.slice(0, -1))
    const keys: string[] = []
    await this.#collect(folder, prefix, keys)
    return keys.sort()
  }

  async delete(key: string): Promise<void> {
    await rm(this.#path(key)).catch(absent)
  }

  #path(key: string): string {
    return join(this.#root, checkKey(key))
  }

  async #write(key: string, bytes: Uint8Array, name: (from: string, to: string) => Promise<void>): Promise<void> {
    const path = this.#path(key)
    const unfinished = join(this.#root, UNFINISHED, newId('blob'))
    await makeFolder(dirname(unfinished))
    try {
      const file = await open(unfinished, 'wx')
      try {
        await file.writeFile(bytes)
        // A name must never survive a power cut that its content does not.
        await file.sync()
      } finally {
        await file.close()
      }
      await makeFolder(dirname(path)).catch((error) => {
        throw codeOf(error) === 'EEXIST' || codeOf(error) === 'ENOTDIR' ? isFolder(key, error) : error
      })
      await name(unfinished, path).catch((error) => {
        throw codeOf(error) === 'EISDIR' ? isFolder(key, error) : error
      })
    } finally {
      await rm(unfinished, { force: true })
    }
  }

  async #collect(folder: string, prefix: string, keys: string[]): Promise<void> {
    const entries = await readdir(join(this.#root, folder), { withFileTypes: true }).catch(absent) ?? []
    for (const entry of entries) {
      const key = folder + entry.name
      if (!isName(entry.name)) continue
      if (entry.isDirectory() && key.startsWith(prefix)) {
        await this.#collect(`${key}/`, prefix, keys)
      } else if (entry.isFile() && key.startsWith(prefix)) {
        keys.push(key)
      }
    }
  }
}

/** Reads as it is pulled and closes the file at its end, on an error, or when cancelled. */
export function streamOfFile(file: FileHandle, range?: BlobRange): ReadableStream<Uint8Array> {
  let at = range?.offset ?? 0
  const end = range ? range.offset + range.length : Infinity
  return new ReadableStream({
    async pull(controller) {
      try {
        const length = Math.min(CHUNK_BYTES, end - at)
        const { bytesRead, buffer } = await file.read(new Uint8Array(length), 0, length, at)
        at += bytesRead
        if (bytesRead > 0) return controller.enqueue(buffer.subarray(0, bytesRead))
      } catch (error) {
        await file.close()
        throw error
      }
      await file.close()
      controller.close()
    },
    cancel: () => file.close(),
  }, { highWaterMark: 0 })
}

function isFolder(key: string, cause: unknown) {
  return invalid(`Cannot write a blob: no key may be the folder of another, got ${JSON.stringify(key)}`, { cause })
}

/** What file systems say of a key that names nothing, or a folder. */
const NO_SUCH_OBJECT: readonly unknown[] = ['ENOENT', 'ENOTDIR', 'EISDIR', 'ERR_FS_EISDIR']

function absent(error: unknown): undefined {
  if (!NO_SUCH_OBJECT.includes(codeOf(error))) throw error
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown }).code
}
