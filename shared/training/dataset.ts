import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { name, sha256 } from '../contracts/fields.ts'
import { DTYPES } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'
import { rowCount } from './data_rows.ts'
import type { Column, DataFile, Feed } from './plan.ts'
import { readSafetensorsHeader, type SafetensorsHeader, writeSafetensors } from './safetensors.ts'
import type { StepInput } from './step_graph.ts'

/** How a column becomes an input: value · scale + shift. */
const use = z.strictObject({ column: name, scale: z.number().default(1), shift: z.number().default(0) })
export type ColumnUse = z.infer<typeof use>

/** `dataset.json`: safetensors files of rows, all with the same columns, and which column is what. */
export const datasetManifest = z.strictObject({
  /** A path beside the manifest, or a URL that every worker can read by range. */
  files: z.array(z.union([z.strictObject({ path: z.string().min(1) }), z.strictObject({ url: z.url() })])).min(1),
  /** Columns by input of the model; may be left out where the model has one input and the files one more column. */
  inputs: z.record(name, use).optional(),
  /** By default the column "target", "labels" or "label". */
  target: use.optional(),
})

export interface Dataset {
  readonly files: readonly DataFile[]
  readonly inputs: Readonly<Record<string, ColumnUse>> | undefined
  readonly target: ColumnUse | undefined
}

/** Stores a blob where workers can fetch it. @returns its SHA-256 */
export type PutBlob = (bytes: Uint8Array) => Promise<string>

/** Bytes of one blob of rows: a few make up a step, and a worker that joins has the first of them soon. */
const CHUNK_BYTES = 1 << 20

/**
 * Cuts columns into blobs of about a megabyte, each a safetensors file of some rows.
 * @param columns tensors of equal size on axis 0
 */
export async function storeRows(columns: Readonly<Record<string, Tensor>>, put: PutBlob): Promise<DataFile[]> {
  const [first, ...others] = Object.values(columns)
  const rows = first?.shape[0] ?? 0
  const odd = others.find(({ shape }) => shape[0] !== rows)
  if (rows === 0 || odd) {
    throw invalid(
      `Cannot store the data: every column must have the same number of rows, got ${rows} and ${odd?.shape[0]}`,
    )
  }
  const perRow = Object.values(columns).reduce((bytes, tensor) => bytes + rowBytesOf(tensor), 0)
  const perFile = Math.max(1, Math.floor(CHUNK_BYTES / perRow))
  const files: DataFile[] = []
  for (let from = 0; from < rows; from += perFile) {
    const to = Math.min(rows, from + perFile)
    const parts = Object.entries(columns).map(([name, tensor]) => {
      const size = rowBytesOf(tensor)
      const bytes = tensor.bytes.subarray(from * size, to * size)
      return [name, new Tensor(tensor.dtype, [to - from, ...tensor.shape.slice(1)], bytes)]
    })
    const file = writeSafetensors(Object.fromEntries(parts))
    files.push(describeFile({ sha256: await put(file) }, readSafetensorsHeader(file), file.byteLength))
  }
  return files
}

/** @throws RpcError `invalid_argument` unless all columns of a file have the same rows */
export function describeFile(
  source: DataFile['source'],
  header: SafetensorsHeader,
  bytes: number,
): DataFile {
  if ('sha256' in source) sha256.parse(source.sha256)
  let rows: number | undefined
  const columns: Record<string, Column> = {}
  for (const [name, { dtype, shape: [count = 0, ...rowShape], offset }] of header.tensors) {
    if (rows !== undefined && rows !== count) {
      throw invalid(`Cannot use the data: "${name}" must have ${rows} rows as the columns before it, got ${count}`)
    }
    rows = count
    columns[name] = { dtype, rowShape, offset, rowBytes: product(rowShape) * DTYPES[dtype].bytes }
  }
  if (!rows) throw invalid('Cannot use the data: a file must have at least one column and one row')
  if ('sha256' in source && bytes > LIMITS.maxDataBlobBytes) {
    throw invalid(
      `Cannot use the data: a file may have ${LIMITS.maxDataBlobBytes} bytes, got ${bytes} (cut it, or serve it by URL)`,
    )
  }
  return { rows, bytes, source, columns }
}

const TARGETS = ['target', 'targets', 'label', 'labels', 'y']
/** Pictures are stored as bytes, and networks want them from 0 to 1. */
const PICTURE_SCALE = 1 / 255

/**
 * Which column feeds which input of the step graph.
 * @throws RpcError `invalid_argument` naming what does not fit
 */
export function matchFeeds(dataset: Dataset, inputs: readonly StepInput[]): Feed[] {
  const columns = dataset.files[0]?.columns ?? {}
  const names = Object.keys(columns)
  const targetUse = dataset.target ??
    used(names.find((name) => TARGETS.includes(name.toLowerCase())), columns, 'target')
  const others = names.filter((name) => name !== targetUse?.column)
  const data = inputs.filter(({ role }) => role === 'data')
  return inputs.filter(({ role }) => role === 'data' || role === 'target').map((input) => {
    const only = data.length === 1 && others.length === 1 ? others[0] : undefined
    const found = input.role === 'target'
      ? targetUse
      : dataset.inputs?.[input.name] ?? used(only ?? others.find((name) => name === input.name), columns, 'data')
    const column = found && columns[found.column]
    if (!found || !column) {
      const what = input.role === 'target' ? 'the target' : `input "${input.name}"`
      throw invalid(`Cannot train: ${what} must have a column (name it in dataset.json), got ${names.join(', ')}`)
    }
    const perRow = product(input.shape) / (input.shape[0] ?? 1)
    if (product(column.rowShape) !== perRow) {
      throw invalid(
        `Cannot train: input "${input.name}" takes ${perRow} values per row, column "${found.column}" has [${column.rowShape}]`,
      )
    }
    return { input: input.name, dtype: input.dtype, shape: [...input.shape], ...found }
  })
}

function used(
  name: string | undefined,
  columns: Readonly<Record<string, Column>>,
  role: 'data' | 'target',
): ColumnUse | undefined {
  if (name === undefined) return undefined
  const isPicture = role === 'data' && columns[name]?.dtype === 'uint8' && (columns[name]?.rowShape.length ?? 0) >= 2
  return { column: name, scale: isPicture ? PICTURE_SCALE : 1, shift: 0 }
}

/** The first rows for training, the rest for validation. */
export function splitRows(files: readonly DataFile[], validationRows: number): { train: number; validation: number } {
  const rows = rowCount(files)
  if (validationRows >= 0 && validationRows < rows) return { train: rows - validationRows, validation: validationRows }
  throw invalid(`Cannot hold back ${validationRows} rows for validation: fewer than all ${rows} are required`)
}

function rowBytesOf({ dtype, shape }: Tensor): number {
  return product(shape.slice(1)) * DTYPES[dtype as Exclude<typeof dtype, 'string'>].bytes
}
