import type { Bytes } from '../base/bytes.ts'
import { invalid, type RpcError } from '../wire/errors.ts'
import { decode, encode } from './onnx_codec.ts'
import type { GraphProto, MessageInit, ModelProto } from './onnx_schema.ts'

export * from './onnx_schema.ts'
export { attribute, node, tensorInfo } from './onnx_build.ts'
export { fromTensorProto, toTensorProto } from './onnx_tensor.ts'

/**
 * Reads an ONNX file. Bytes inside (weights above all) are views of `bytes`, which must not change while they are used.
 * @throws RpcError `invalid_argument` if the bytes are not an ONNX model, nest too deeply or hold too many values
 */
export function readModel(bytes: Uint8Array): ModelProto & { readonly graph: GraphProto } {
  let model: ModelProto
  try {
    model = decode('ModelProto', bytes)
  } catch (cause) {
    throw notOnnx(kindOf(bytes) ?? `${bytes.length} bytes that do not parse (${(cause as Error).message})`, cause)
  }
  const { graph } = model
  if (!graph) throw notOnnx(kindOf(bytes) ?? `${bytes.length} bytes without a graph`)
  return { ...model, graph }
}

/** Writes an ONNX file. Fields that are not named are left out. */
export function writeModel(model: MessageInit<'ModelProto'>): Bytes {
  return encode('ModelProto', model)
}

function notOnnx(got: string, cause?: unknown): RpcError {
  return invalid(`Cannot read the model: expected an ONNX file (protobuf ModelProto with a graph), got ${got}`, {
    cause,
  })
}

/** How files that people take for ONNX models begin. */
const BEGINNINGS: readonly (readonly [at: number, text: string, kind: string])[] = [
  [0, 'PK', 'a ZIP archive (a PyTorch or Keras file; export it to ONNX)'],
  [0, '\x89HDF', 'an HDF5 file (Keras; export it to ONNX)'],
  [0, 'GGUF', 'a GGUF file'],
  [4, 'TFL3', 'a TensorFlow Lite file'],
  [4, 'ORTM', 'a model in ORT format (push the .onnx file it was made from)'],
  [8, '{"', 'a safetensors file (weights without a graph; export the model to ONNX)'],
  [0, '{', 'JSON'],
  [0, '<', 'HTML or XML (a web page instead of the file?)'],
  [0, 'version https://git-lfs', 'a Git LFS pointer (fetch the file itself with `git lfs pull`)'],
]

function kindOf(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return 'an empty file'
  const starts = (at: number, text: string) => [...text].every((char, i) => bytes[at + i] === char.charCodeAt(0))
  return BEGINNINGS.find(([at, text]) => starts(at, text))?.[2]
}
