import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { Bytes } from '../../../shared/base/bytes.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { readIdx } from '../../../shared/training/data_idx.ts'
import { DataRows, type DataSource } from '../../../shared/training/data_rows.ts'
import { describeFile, matchFeeds, storeRows } from '../../../shared/training/dataset.ts'
import { httpData } from '../../../shared/training/http_data.ts'
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from '../../../shared/training/safetensors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { MemoryBlobs } from './local_pool.ts'

const never = new AbortController().signal

describe('safetensors', () => {
  const tensors = {
    odd: Tensor.from('uint8', [3], [1, 2, 3]),
    x: Tensor.from('float32', [2, 2], [1, -2, 3.5, NaN]),
    wide: Tensor.from('int64', [1], [-5n]),
  }

  it('gives back what was written, aligned', () => {
    const file = writeSafetensors(tensors, { note: 'ä' })
    const read = readSafetensors(file)
    expect(read.tensors).toEqual(tensors)
    expect(read.metadata).toEqual({ note: 'ä' })
    for (const { offset, dtype } of readSafetensorsHeader(file).tensors.values()) {
      expect(offset % (dtype === 'int64' ? 8 : dtype === 'float32' ? 4 : 1)).toBe(0)
    }
  })

  it('refuses hostile headers before it reads anything', () => {
    const file = writeSafetensors(tensors)
    const broken = (change: (header: Record<string, unknown>) => void) => {
      const length = Number(new DataView(file.buffer).getBigUint64(0, true))
      const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<string, unknown>
      change(header)
      const json = new TextEncoder().encode(JSON.stringify(header))
      const bytes = new Uint8Array(8 + json.length + 64)
      new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
      bytes.set(json, 8)
      return () => readSafetensors(bytes)
    }
    const entry = { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] }
    expect(broken((header) => header.x = entry)).not.toThrow()
    expect(broken((header) => header.x = { ...entry, data_offsets: [0, 8] })).toThrow('must have 16 bytes')
    expect(broken((header) => header.x = { ...entry, data_offsets: [-16, 0] })).toThrow('inside of the file')
    expect(broken((header) => header.x = { ...entry, shape: [2 ** 40], data_offsets: [0, 2 ** 42] })).toThrow('inside')
    expect(broken((header) => header.x = { ...entry, dtype: 'BF16' })).toThrow('must have one of the types')
    expect(broken((header) => header.x = { ...entry, shape: [-1, -4] })).toThrow('from 0 up')
    expect(broken((header) => header.x = null)).toThrow('types')
    const long = new Uint8Array(8)
    new DataView(long.buffer).setBigUint64(0, 2n ** 63n, true)
    expect(() => readSafetensors(long)).toThrow('its header may have')
    expect(() => readSafetensors(new Uint8Array(3))).toThrow('at least 8 bytes')
  })
})

describe('IDX', () => {
  it('reads bytes and big-endian numbers, gzipped or not', async () => {
    const bytes = Uint8Array.of(0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6)
    for (const file of [bytes, new Uint8Array(gzipSync(bytes))]) {
      expect(await readIdx(file)).toEqual(Tensor.from('uint8', [2, 3], [1, 2, 3, 4, 5, 6]))
    }
    const shorts = Uint8Array.of(0, 0, 0x0b, 1, 0, 0, 0, 2, 0x01, 0x02, 0xff, 0xfe)
    expect([...(await readIdx(shorts)).data]).toEqual([258, -2])
  })

  it('refuses a length that its sizes do not give', async () => {
    const file = Uint8Array.of(0, 0, 8, 1, 0xff, 0xff, 0xff, 0xff, 1)
    await expect(readIdx(file)).rejects.toThrow('shape [4294967295] must have 4294967295 bytes, got 1')
    await expect(readIdx(Uint8Array.of(1, 2, 3, 4))).rejects.toThrow('must begin with')
    await expect(readIdx(Uint8Array.of(0x1f, 0x8b, 1, 1))).rejects.toThrow('gzip data are damaged')
  })
})

/** Rows of `count` floats: row r is r, r + 0.5, …; cut into files by storeRows. */
async function stored(rows: number, width: number) {
  const blobs = new MemoryBlobs()
  const values = Float32Array.from({ length: rows * width }, (_, i) => Math.floor(i / width) + 0.5 * (i % width))
  const labels = Int32Array.from({ length: rows }, (_, i) => i % 10)
  const columns = { x: Tensor.from('float32', [rows, width], values), labels: Tensor.from('int32', [rows], labels) }
  return { blobs, files: await storeRows(columns, blobs.put) }
}

describe('rows', () => {
  it('come from whichever file holds them, each file fetched once', async () => {
    const { blobs, files } = await stored(1000, 1000)
    expect(files.length).toBeGreaterThan(3)
    const data = new DataRows(blobs)
    const random = seededRandom(4)
    const wanted = Array.from({ length: 200 }, () => Math.floor(random() * 1000))
    const bytes = await data.read(files, 'x', wanted, never)
    const values = new Float32Array(bytes.buffer)
    expect(wanted.map((_, i) => values[i * 1000])).toEqual(wanted)
    expect(wanted.map((_, i) => values[i * 1000 + 1])).toEqual(wanted.map((row) => row + 0.5))
    const labels = new Int32Array((await data.read(files, 'labels', wanted, never)).buffer)
    expect([...labels]).toEqual(wanted.map((row) => row % 10))
    expect(blobs.reads).toBe(files.length)
    await expect(data.read(files, 'x', [1000], never)).rejects.toThrow('Cannot read row 1000')
    await expect(data.read(files, 'y', [0], never)).rejects.toThrow('got x, labels')
  })

  it('drop the least recently used file beyond the bound', async () => {
    const { blobs, files } = await stored(1000, 1000)
    const most = Math.max(...files.map(({ bytes }) => bytes))
    const data = new DataRows(blobs, most * 2)
    for (let row = 0; row < 1000; row += 50) await data.read(files, 'x', [row], never)
    expect(data.keptBytes).toBeLessThanOrEqual(most * 2)
    const before = blobs.reads
    await data.read(files, 'x', [999], never)
    expect(blobs.reads).toBe(before)
    await data.read(files, 'x', [0], never)
    expect(blobs.reads).toBe(before + 1)
  })

  it('forget a fetch that failed', async () => {
    const { blobs, files } = await stored(10, 4)
    let fails = 1
    const flaky: DataSource = {
      range: () => blobs.range(),
      blob: (sha256) => fails-- > 0 ? Promise.reject(new Error('lost')) : blobs.blob(sha256),
    }
    const data = new DataRows(flaky)
    await expect(data.read(files, 'x', [1], never)).rejects.toThrow('lost')
    expect(data.keptBytes).toBe(0)
    expect(new Float32Array((await data.read(files, 'x', [1], never)).buffer)[0]).toBe(1)
  })

  it('are read by range from a URL, page by page', async () => {
    const width = 1000
    const rows = 500
    const values = Float32Array.from({ length: rows * width }, (_, i) => Math.floor(i / width))
    const file = writeSafetensors({ x: Tensor.from('float32', [rows, width], values) })
    const url = 'https://data.example/x.safetensors'
    const asked: string[] = []
    const send = (_: unknown, init?: RequestInit) => {
      const range = new Headers(init?.headers).get('range') ?? ''
      asked.push(range)
      const [from = 0, to = 0] = (/(\d+)-(\d+)/.exec(range) ?? []).slice(1).map(Number)
      return Promise.resolve(new Response(file.slice(from, to + 1), { status: 206 }))
    }
    const data = new DataRows(httpData(() => Promise.reject(new Error('no blobs')), send as typeof fetch))
    const files = [describeFile({ url }, readSafetensorsHeader(file), file.byteLength)]
    const read = async (wanted: number[]) => {
      const found = new Float32Array((await data.read(files, 'x', wanted, never)).buffer)
      return wanted.map((_, i) => found[i * width])
    }
    expect(await read([0, 499, 130, 499])).toEqual([0, 499, 130, 499])
    expect(asked.length).toBe(2)
    expect(await read([1, 300, 400])).toEqual([1, 300, 400])
    expect(asked.length).toBe(3)
  })

  it('are refused from servers that ignore the range, answer short or long', async () => {
    const answer = (body: Uint8Array, status: number) =>
      httpData(
        () => Promise.reject(new Error()),
        (() => Promise.resolve(new Response(body as Bytes, { status }))) as typeof fetch,
      )
    const url = 'https://data.example/x'
    await expect(answer(new Uint8Array(9), 200).range(url, 0, 4, never)).rejects.toThrow('status 206')
    await expect(answer(new Uint8Array(9), 206).range(url, 0, 4, never)).rejects.toThrow('got more')
    await expect(answer(new Uint8Array(9), 503).range(url, 0, 4, never)).rejects.toMatchObject({ code: 'unavailable' })
    const file = {
      rows: 1,
      bytes: 100,
      source: { url },
      columns: { x: { dtype: 'float32' as const, rowShape: [1], offset: 0, rowBytes: 4 } },
    }
    await expect(new DataRows(answer(new Uint8Array(3), 206)).read([file], 'x', [0], never)).rejects.toThrow('got 3')
  })
})

describe('feeds', () => {
  const inputs = [
    { name: 'p', dtype: 'float32', shape: [7], role: 'parameters' },
    { name: 'x', dtype: 'float32', shape: [4, 1, 28, 28], role: 'data' },
    { name: 't', dtype: 'int32', shape: [4], role: 'target' },
  ] as const
  const column = (dtype: 'uint8' | 'float32', rowShape: number[]) => ({ dtype, rowShape, offset: 0, rowBytes: 1 })
  const dataset = (columns: Record<string, ReturnType<typeof column>>) => ({
    files: [{ rows: 5, bytes: 1, source: { sha256: '0'.repeat(64) }, columns }],
    inputs: undefined,
    target: undefined,
  })

  it('are found by what there is, pictures from 0 to 1', () => {
    const feeds = matchFeeds(dataset({ images: column('uint8', [28, 28]), labels: column('uint8', []) }), inputs)
    expect(feeds.map(({ input, column, scale }) => [input, column, scale])).toEqual([['x', 'images', 1 / 255], [
      't',
      'labels',
      1,
    ]])
  })

  it('are refused with the reason where they do not fit', () => {
    const small = dataset({ images: column('uint8', [14, 14]), labels: column('uint8', []) })
    expect(() => matchFeeds(small, inputs)).toThrow('takes 784 values per row, column "images" has [14,14]')
    expect(() => matchFeeds(dataset({ images: column('uint8', [28, 28]) }), inputs)).toThrow(
      'the target must have a column',
    )
  })
})
