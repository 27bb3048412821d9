import { LIMITS } from '../base/limits.ts'
import { DTYPES, isDType } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import type { TensorSpec } from '../wire/signature.ts'
import { product, Tensor } from '../wire/tensor.ts'
import type { OrtModule } from './ort_runtime.ts'
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-web'

/**
 * Inputs or outputs as ONNX Runtime tells them.
 * @throws RpcError `invalid_argument` for what a Tensor cannot hold: sequences, maps, optionals, 4-bit integers
 */
export function specsOf(kind: 'input' | 'output', metadata: readonly InferenceSession.ValueMetadata[]): TensorSpec[] {
  return metadata.map((value) => {
    const dtype = value.isTensor ? value.type : 'no tensor'
    if (!value.isTensor || !isDType(dtype)) {
      throw invalid(`Cannot load the model: ${kind} "${value.name}" must be a tensor of a plain type, got ${dtype}`)
    }
    return {
      name: value.name,
      dtype,
      shape: value.shape.map((size) => isFixed(size) ? size : -1),
      axes: value.shape.map((size) => typeof size === 'string' ? size : ''),
    }
  })
}

/** A free dimension is its name, or, where it has none, -1 read as an unsigned 32-bit integer. */
function isFixed(size: number | string): size is number {
  return typeof size === 'number' && size < 2 ** 31
}

/** Inputs as ONNX Runtime takes them. @throws RpcError `invalid_argument` naming the input that does not fit */
export function toFeeds(
  ort: OrtModule,
  specs: readonly TensorSpec[],
  inputs: Readonly<Record<string, Tensor>>,
): Record<string, OrtTensor> {
  const feeds: Record<string, OrtTensor> = {}
  for (const spec of specs) {
    const tensor = Object.hasOwn(inputs, spec.name) ? inputs[spec.name] : undefined
    if (!tensor) throw invalid(`Cannot run the model: input "${spec.name}" must be ${show(spec)}, got nothing`)
    checkInput(spec, tensor)
    // Float16Array is missing from onnxruntime-web's types alone.
    feeds[spec.name] = new ort.Tensor(tensor.dtype, tensor.data as OrtTensor.DataType, [...tensor.shape])
  }
  for (const name of Object.keys(inputs)) {
    if (!Object.hasOwn(feeds, name)) {
      const names = specs.map((spec) => `"${spec.name}"`).join(', ') || 'none'
      throw invalid(`Cannot run the model: its inputs are ${names}, got also "${name}"`)
    }
  }
  return feeds
}

/**
 * Outputs as Tensors over ONNX Runtime's arrays, which are copies of its heap made for us.
 * Shape and dtype were computed by the runtime, so a mismatch is its fault.
 */
export function fromResults(results: InferenceSession.ReturnType): Record<string, Tensor> {
  const outputs: Record<string, Tensor> = {}
  for (const [name, value] of Object.entries(results)) {
    const { type, dims, data } = value as OrtTensor
    if (!isDType(type)) throw new TypeError(`output "${name}" has type ${type}`)
    outputs[name] = ArrayBuffer.isView(data)
      ? new Tensor(type, dims, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      : Tensor.from(type, dims, data)
  }
  return outputs
}

/**
 * Inputs of zeros (and empty strings) to warm a model up with.
 * @param batch size of a free axis 0; every other free dimension is 1
 * @returns undefined if they would take more than LIMITS.maxWarmUpBytes: the shapes are the model's word
 */
export function zeroInputs(specs: readonly TensorSpec[], batch = 1): Record<string, Tensor> | undefined {
  const inputs: Record<string, Tensor> = {}
  let total = 0
  for (const { name, dtype, shape } of specs) {
    const sizes = shape.map((size, axis) => size >= 0 ? size : axis === 0 ? batch : 1)
    // A string takes at least the four bytes of its length.
    const bytes = product(sizes) * (DTYPES[dtype].bytes || 4)
    total += bytes
    if (total > LIMITS.maxWarmUpBytes) return undefined
    inputs[name] = new Tensor(dtype, sizes, new Uint8Array(bytes))
  }
  return inputs
}

/**
 * True if a model that fails on `zeroInputs` would fail on any: its inputs leave no choice but the batch size.
 * Integers may be divisors, sizes or permutations, and other free dimensions may have a least size.
 */
export function zerosAreTypical(specs: readonly TensorSpec[]): boolean {
  return specs.every(({ dtype, shape }) =>
    (dtype === 'float32' || dtype === 'float16' || dtype === 'float64') &&
    shape.length > 0 && !shape.slice(1).includes(-1)
  )
}

function checkInput(spec: TensorSpec, tensor: Tensor): void {
  const fits = tensor.dtype === spec.dtype &&
    // The runtime tells a scalar and an unknown rank apart no more than this: both have no dimensions.
    (spec.shape.length === 0 ||
      (tensor.shape.length === spec.shape.length &&
        spec.shape.every((size, axis) => size === -1 || size === tensor.shape[axis])))
  if (!fits) {
    throw invalid(
      `Cannot run the model: input "${spec.name}" must be ${show(spec)}, got ${tensor.dtype} [${tensor.shape}]`,
    )
  }
  if (tensor.dtype === 'bool' && tensor.bytes.some((byte) => byte > 1)) {
    throw invalid(`Cannot run the model: input "${spec.name}" must hold 0 or 1 in each byte of a bool`)
  }
  if (tensor.dtype === 'string' && (tensor as Tensor<'string'>).data.some((text) => text.includes('\0'))) {
    // The runtime takes C strings and would cut the text short.
    throw invalid(`Cannot run the model: input "${spec.name}" must hold no NUL character`)
  }
}

function show({ dtype, shape, axes }: TensorSpec): string {
  return shape.length === 0 ? dtype : `${dtype} [${shape.map((size, axis) => size === -1 ? axes[axis] || -1 : size)}]`
}
