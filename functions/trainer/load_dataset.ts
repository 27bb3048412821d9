import type { Stats } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { concat } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { wordIssue } from '../../shared/base/schema_issue.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { type Dataset, datasetManifest, describeFile, type PutBlob, storeRows } from '../../shared/training/dataset.ts'
import { isIdx, readIdx } from '../../shared/training/data_idx.ts'
import type { DataFile } from '../../shared/training/plan.ts'
import { headerBytes, readSafetensorsHeader } from '../../shared/training/safetensors.ts'

/**
 * Reads what `--data` names and puts it where workers can fetch it: a dataset.json, a safetensors file, a pair of IDX
 * files `images,labels`, or a folder with any of these. Files of URLs stay where they are.
 */
export async function loadDataset(path: string, put: PutBlob): Promise<Dataset> {
  const [first = '', second, ...more] = path.split(',')
  if (more.length > 0) {
    throw invalid(`Cannot read the data: one file, folder, or "images,labels" is required, got ${path}`)
  }
  if (second !== undefined) return await loadIdxPair(first, second, put)
  const found = await find(first)
  if (found.isDirectory()) return await loadFolder(first, put)
  if (first.endsWith('.json')) return await loadManifest(first, put)
  if (first.endsWith('.safetensors')) return await loadSafetensors([first], put)
  throw invalid(
    `Cannot read the data: dataset.json, *.safetensors, a folder, or "images,labels" (IDX) is required, got ${first}`,
  )
}

/** @throws RpcError `not_found` unless all that `--data` names is there: asked before anything is started for it */
export async function checkDataset(path: string): Promise<void> {
  await Promise.all(path.split(',').map(find))
}

async function find(path: string): Promise<Stats> {
  return await stat(path).catch((cause) => {
    throw new RpcError('not_found', `Cannot read the data: ${path} must be there, got no such file or folder`, {
      cause,
    })
  })
}

async function loadFolder(folder: string, put: PutBlob): Promise<Dataset> {
  const names = (await readdir(folder)).sort()
  if (names.includes('dataset.json')) return await loadManifest(join(folder, 'dataset.json'), put)
  const tensors = names.filter((name) => name.endsWith('.safetensors'))
  if (tensors.length > 0) return await loadSafetensors(tensors.map((name) => join(folder, name)), put)
  const idx = names.filter((name) => /idx\d/.test(name))
  const train = idx.filter((name) => name.includes('train'))
  const pair = train.length >= 2 ? train : idx
  const images = pair.find((name) => /image/.test(name))
  const labels = pair.find((name) => /label/.test(name))
  if (images && labels) return await loadIdxPair(join(folder, images), join(folder, labels), put)
  throw invalid(
    `Cannot read the data: ${folder} must hold dataset.json, *.safetensors, or IDX files of images and labels, got ${
      names.slice(0, 8).join(', ') || 'nothing'
    }`,
  )
}

async function loadIdxPair(images: string, labels: string, put: PutBlob): Promise<Dataset> {
  const [x, y] = await Promise.all([images, labels].map(async (path) => {
    const file = await readFile(path)
    if (!isIdx(file)) throw invalid(`Cannot read the data: ${basename(path)} must be an IDX file, gzipped or not`)
    return await readIdx(file)
  }))
  if (!x || !y) throw invalid('Cannot read the data: images and labels are required')
  return { files: await storeRows({ images: x, labels: y }, put), inputs: undefined, target: undefined }
}

async function loadSafetensors(paths: readonly string[], put: PutBlob): Promise<Dataset> {
  const files: DataFile[] = []
  for (const path of paths) files.push(await storeFile(path, put))
  return { files, inputs: undefined, target: undefined }
}

async function storeFile(path: string, put: PutBlob): Promise<DataFile> {
  const bytes = await readFile(path).catch((cause) => {
    throw new RpcError('not_found', `Cannot read the data: ${path} must be there`, { cause })
  })
  const header = readSafetensorsHeader(bytes)
  // A file of the wrong size is refused before it travels.
  describeFile({ sha256: '0'.repeat(64) }, header, bytes.byteLength)
  return describeFile({ sha256: await put(bytes) }, header, bytes.byteLength)
}

async function loadManifest(path: string, put: PutBlob): Promise<Dataset> {
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw invalid(`Cannot read the data: ${path} must be JSON`, { cause })
  }
  const parsed = datasetManifest.safeParse(json)
  if (!parsed.success) {
    throw invalid(`Cannot read the data: in ${path} ${wordIssue(parsed.error.issues[0])}`)
  }
  const files: DataFile[] = []
  for (const file of parsed.data.files) {
    files.push('url' in file ? await describeUrl(file.url) : await storeFile(resolve(dirname(path), file.path), put))
  }
  return { files, inputs: parsed.data.inputs, target: parsed.data.target }
}

/** Reads the header alone: the rows are the workers' to fetch. */
async function describeUrl(url: string): Promise<DataFile> {
  const start = await fetchRange(url, 0, 8)
  const length = headerBytes(start.bytes)
  if (length > LIMITS.maxSafetensorsHeaderBytes) throw invalid(`Cannot read ${url}: its header is too long`)
  const rest = await fetchRange(url, 8, length)
  return describeFile({ url }, readSafetensorsHeader(concat([start.bytes, rest.bytes]), start.total), start.total)
}

async function fetchRange(url: string, from: number, to: number): Promise<{ bytes: Uint8Array; total: number }> {
  const response = await fetch(url, { headers: { range: `bytes=${from}-${to - 1}` } }).catch((cause) => {
    throw new RpcError('unavailable', `Cannot read ${url}: it does not answer`, { cause })
  })
  const total = Number(/\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1])
  if (response.status !== 206 || !Number.isSafeInteger(total)) {
    await response.body?.cancel()
    throw new RpcError(
      'failed_precondition',
      `Cannot read ${url}: its server must answer range requests (206 with Content-Range), got ${response.status}`,
    )
  }
  return { bytes: new Uint8Array(await response.arrayBuffer()), total }
}
