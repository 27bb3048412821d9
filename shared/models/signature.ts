import { LIMITS } from '../base/limits.ts'
import { dtypeOfOnnx, DTYPES } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import type { Signature, TensorSpec } from '../wire/signature.ts'
import { checkExternalData, type ExternalFiles } from './external_data.ts'
import { decode } from './onnx_codec.ts'
import { type GraphProto, type ModelProto, readModel, type TensorShapeProto, type ValueInfoProto } from './onnx.ts'
import { elementTypeName } from './onnx_tensor.ts'
import { type ModelTraits, readTraits } from './traits.ts'

/** The newest that onnxruntime 1.30 loads. */
const MAX_IR_VERSION = 13
const MAX_OPSET = 26

/**
 * Reads what a model takes and gives, without running it. Inputs that have an initializer are constants, not inputs.
 * @param files what it may have in other files
 * @returns the signature, the opset of the default ONNX domain, and what else pools must know
 * @throws RpcError `invalid_argument` naming what is wrong: not ONNX, too new, data in other files, values other than
 *   tensors of a dtype in wire/dtype.ts, or an input or output of unknown rank
 */
export function readSignature(
  bytes: Uint8Array,
  files?: ExternalFiles,
): { signature: Signature; opset: number } & ModelTraits {
  const model = readModel(bytes)
  const opset = checkVersions(model)
  checkExternalData(model, files)
  const { graph } = model
  const constants = namesOfConstants(graph)
  const inputs = readSpecs('input', graph.input.filter(({ name }) => !constants.has(name)))
  if (graph.output.length === 0) throw invalid('Cannot read the model: its graph must have an output, got none')
  const outputs = readSpecs('output', graph.output)
  return { signature: { inputs, outputs, batchable: isBatchable(inputs, outputs) }, opset, ...readTraits(model) }
}

/**
 * True if calls may be joined along axis 0: in every input and output it is free, has the same name, and that name
 * stands nowhere else (an adjacency matrix [N, N] cannot be joined along N). By giving that name the author says that
 * rows are independent; exporters name such axes 'batch' or 'N'. Free axes without a name promise nothing, so a model
 * that leaves them unnamed is not batchable: a wrong guess would hand one caller's rows to another.
 */
export function isBatchable(inputs: readonly TensorSpec[], outputs: readonly TensorSpec[]): boolean {
  const batch = inputs[0]?.axes[0]
  if (!batch) return false
  return [...inputs, ...outputs].every(({ axes }) => axes[0] === batch && axes.indexOf(batch, 1) < 0)
}

function checkVersions(model: ModelProto): number {
  if (model.irVersion < 1 || model.irVersion > MAX_IR_VERSION) {
    throw invalid(
      `Cannot read the model: its IR version must be from 1 to ${MAX_IR_VERSION}, got ${model.irVersion} (export it again with an older onnx package, or set model.ir_version)`,
    )
  }
  const opsets = model.opsetImport.filter(({ domain }) => domain === '' || domain === 'ai.onnx')
  if (opsets.length === 0) throw invalid('Cannot read the model: it must import the default ONNX opset, got none')
  const opset = Math.max(...opsets.map(({ version }) => version))
  if (opset < 1 || opset > MAX_OPSET) {
    throw invalid(
      `Cannot read the model: its opset must be from 1 to ${MAX_OPSET}, got ${opset} (export it with opset_version=17 to 21)`,
    )
  }
  return opset
}

function namesOfConstants(graph: GraphProto): Set<string> {
  const names = new Set(graph.initializer.map(({ name }) => name))
  for (const sparse of graph.sparseInitializer) names.add(decode('SparseTensorProto', sparse).values?.name ?? '')
  return names
}

function readSpecs(side: 'input' | 'output', values: readonly ValueInfoProto[]): TensorSpec[] {
  if (values.length > LIMITS.maxTensors) {
    throw invalid(`Cannot read the model: it must have at most ${LIMITS.maxTensors} ${side}s, got ${values.length}`)
  }
  const names = new Set<string>()
  return values.map((value) => {
    if (value.name === '' || value.name.length > LIMITS.maxNameLength) {
      throw invalid(
        `Cannot read the model: each ${side} must have a name of 1 to ${LIMITS.maxNameLength} characters, got ${value.name.length}`,
      )
    }
    if (names.has(value.name)) throw invalid(`Cannot read the model: ${side} "${value.name}" is declared twice`)
    names.add(value.name)
    return readSpec(`${side} "${value.name}"`, value)
  })
}

const OTHER_TYPES = {
  sequenceType: 'a sequence',
  mapType: 'a map (turn ZipMap off when exporting)',
  optionalType: 'an optional value',
  sparseTensorType: 'a sparse tensor',
  opaqueType: 'an opaque value',
} as const

function readSpec(what: string, value: ValueInfoProto): TensorSpec {
  const { type, name } = value
  for (const [field, kind] of Object.entries(OTHER_TYPES)) {
    if (type?.[field as keyof typeof OTHER_TYPES]) {
      throw invalid(`Cannot read the model: ${what} must be a tensor, got ${kind}`)
    }
  }
  if (!type?.tensorType) throw invalid(`Cannot read the model: ${what} must be a tensor, got a value without a type`)
  const { elemType, shape } = type.tensorType
  const dtype = dtypeOfOnnx(elemType)
  if (!dtype) {
    throw invalid(
      `Cannot read the model: ${what} must have one of the types ${Object.keys(DTYPES).join(', ')}, got ${
        elementTypeName(elemType)
      } (cast it inside the model)`,
    )
  }
  if (!shape) {
    throw invalid(
      `Cannot read the model: ${what} must declare its shape, got none (run onnx.shape_inference, or set it in the export)`,
    )
  }
  return { name, dtype, ...readShape(what, shape) }
}

/** Old exporters write a free dimension as -1. */
function readShape(what: string, shape: TensorShapeProto): Pick<TensorSpec, 'shape' | 'axes'> {
  const { dim } = shape
  if (dim.length > LIMITS.maxRank) {
    throw invalid(`Cannot read the model: ${what} must have at most ${LIMITS.maxRank} dimensions, got ${dim.length}`)
  }
  const isFree = (size: number | undefined) => size === undefined || size < 0
  if (dim.some(({ dimParam = '' }) => dimParam.length > LIMITS.maxNameLength)) {
    throw invalid(`Cannot read the model: ${what} must name its axes with at most ${LIMITS.maxNameLength} characters`)
  }
  return {
    shape: dim.map(({ dimValue }) => dimValue === undefined || dimValue < 0 ? -1 : dimValue),
    axes: dim.map(({ dimValue, dimParam = '' }) => isFree(dimValue) ? dimParam : ''),
  }
}
