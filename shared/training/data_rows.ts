import type { Bytes } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { Column, DataFile } from './plan.ts'

/** How a worker reads training data. Both reject with `unavailable` where trying again may help. */
export interface DataSource {
  /** A blob, checked against its hash. */
  blob(sha256: string, signal: AbortSignal): Promise<Bytes>
  /** Bytes `from` to `to` of a file. */
  range(url: string, from: number, to: number, signal: AbortSignal): Promise<Bytes>
}

/** Bytes read from a URL at once: enough to be worth the round trip, few enough that rows apart are not all fetched. */
const PAGE_BYTES = 512 * 1024

/** Rows that are fetched at once. */
interface Page {
  key: string
  bytes: number
  /** Where its first row begins. */
  at: number
  load(): Promise<Bytes>
}

/**
 * Rows of a data set by number. What was fetched is kept, the least recently used dropped beyond
 * LIMITS.maxDataCacheBytes; rows that are wanted at once share one fetch.
 */
export class DataRows {
  readonly #source: DataSource
  readonly #maxBytes: number
  /** In order of use. */
  readonly #pages = new Map<string, { bytes: number; page: Promise<Bytes> }>()
  #bytes = 0

  constructor(source: DataSource, maxBytes: number = LIMITS.maxDataCacheBytes) {
    this.#source = source
    this.#maxBytes = maxBytes
  }

  /** Bytes of the pages kept. */
  get keptBytes(): number {
    return this.#bytes
  }

  /**
   * One column of some rows, end to end.
   * @param rows row numbers over all files, from 0; any order, repeats allowed
   * @throws RpcError `invalid_argument` if a row lies beyond the files or they do not agree on the column
   */
  async read(files: readonly DataFile[], name: string, rows: ArrayLike<number>, signal: AbortSignal): Promise<Bytes> {
    const starts = startsOf(files)
    const rowBytes = columnOf(files[0], name).rowBytes
    const joined = new Uint8Array(rows.length * rowBytes)
    // By file and page, then the rows' places in it: numbers alone, for there are many rows.
    const wanted = new Map<number, { page: Page; copies: number[] }>()
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] ?? 0
      const index = fileOf(starts, row)
      const file = files[index]
      if (!file) throw invalid(`Cannot read row ${row}: there are ${starts.at(-1)} rows`)
      const column = columnOf(file, name)
      if (column.rowBytes !== rowBytes) {
        throw invalid(
          `Cannot read "${name}": its rows must have ${rowBytes} bytes in every file, got ${column.rowBytes}`,
        )
      }
      const first = 'sha256' in file.source ? 0 : firstOfPage(row - (starts[index] ?? 0), rowBytes)
      // No two pages begin at the same row of the whole data set.
      const key = (starts[index] ?? 0) + first
      let found = wanted.get(key)
      if (!found) wanted.set(key, found = { page: this.#pageOf(file, column, first, signal), copies: [] })
      found.copies.push(found.page.at + (row - key) * rowBytes, i * rowBytes)
    }
    await Promise.all([...wanted.values()].map(async ({ page, copies }) => {
      const bytes = await this.#page(page.key, page.bytes, page.load)
      for (let i = 0; i < copies.length; i += 2) {
        const at = copies[i] ?? 0
        joined.set(bytes.subarray(at, at + rowBytes), copies[i + 1])
      }
    }))
    return joined
  }

  /** The page of a file's column that begins with row `first`. */
  #pageOf(file: DataFile, column: Column, first: number, signal: AbortSignal): Page {
    const { source } = file
    if ('sha256' in source) {
      const load = () => this.#source.blob(source.sha256, signal)
      return { key: source.sha256, bytes: file.bytes, at: column.offset, load }
    }
    const { url } = source
    const from = column.offset + first * column.rowBytes
    const to = column.offset + Math.min(file.rows, first + rowsOfPage(column.rowBytes)) * column.rowBytes
    return {
      key: `${url}#${from}`,
      bytes: to - from,
      at: 0,
      load: async () => {
        const page = await this.#source.range(url, from, to, signal)
        if (page.byteLength === to - from) return page
        throw new RpcError('data_loss', `Cannot read ${url}: ${to - from} bytes were asked for, got ${page.byteLength}`)
      },
    }
  }

  #page(key: string, bytes: number, load: () => Promise<Bytes>): Promise<Bytes> {
    const kept = this.#pages.get(key)
    this.#pages.delete(key)
    const entry = kept ?? { bytes, page: load() }
    this.#pages.set(key, entry)
    if (!kept) {
      this.#bytes += bytes
      entry.page.catch(() => this.#drop(key, entry))
      for (const [oldest, other] of this.#pages) {
        if (this.#bytes <= this.#maxBytes || other === entry) break
        this.#drop(oldest, other)
      }
    }
    return entry.page
  }

  #drop(key: string, entry: { bytes: number }): void {
    if (this.#pages.get(key) !== entry) return
    this.#pages.delete(key)
    this.#bytes -= entry.bytes
  }
}

function rowsOfPage(rowBytes: number): number {
  return Math.max(1, Math.floor(PAGE_BYTES / Math.max(1, rowBytes)))
}
function firstOfPage(row: number, rowBytes: number): number {
  return row - row % rowsOfPage(rowBytes)
}

export function rowCount(files: readonly DataFile[]): number {
  return files.reduce((total, { rows }) => total + rows, 0)
}

/** The number of each file's first row, and of the row after the last. */
function startsOf(files: readonly DataFile[]): number[] {
  let total = 0
  return [0, ...files.map(({ rows }) => total += rows)]
}

/** Index of the file that holds a row, by bisection. */
function fileOf(starts: readonly number[], row: number): number {
  let [low, high] = [0, starts.length - 1]
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if ((starts[middle] ?? 0) <= row) low = middle
    else high = middle - 1
  }
  return low
}

function columnOf(file: DataFile | undefined, name: string): Column {
  const column = file?.columns[name]
  if (column) return column
  throw invalid(`Cannot read "${name}": every file must have it, got ${Object.keys(file?.columns ?? {}).join(', ')}`)
}
