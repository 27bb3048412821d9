import { invalid } from '../wire/errors.ts'
import { decode, fullBudget } from './onnx_codec.ts'
import { EXTERNAL, type GraphProto, type ModelProto, type NodeProto, type TensorProto } from './onnx_schema.ts'

/** Bytes of the files that a model may refer to, by path; none where it must hold all of its data. */
export type ExternalFiles = ReadonlyMap<string, number>

/**
 * Refuses a model any tensor of which refers to a file that did not come with it: a path in a model from outside must
 * never reach a file system. Looks into attributes, subgraphs, functions, training graphs and sparse tensors.
 * @throws RpcError `invalid_argument` naming the tensor and the remedy
 */
export function checkExternalData(model: ModelProto, files: ExternalFiles = new Map()): void {
  const budget = fullBudget()

  /** Decodes one of the parts that reading keeps as bytes. */
  const read = <M extends 'FunctionProto' | 'TrainingInfoProto' | 'SparseTensorProto'>(name: M, bytes: Uint8Array) => {
    try {
      return decode(name, bytes, budget)
    } catch (cause) {
      throw invalid(`Cannot read the model: its ${name} does not parse (${(cause as Error).message})`, { cause })
    }
  }
  const checkSparse = (bytes: Uint8Array, what: string) => {
    const { values, indices } = read('SparseTensorProto', bytes)
    if (values) checkTensor(values, what, files)
    if (indices) checkTensor(indices, what, files)
  }
  const checkGraph = (graph: GraphProto) => {
    for (const tensor of graph.initializer) checkTensor(tensor, `initializer "${tensor.name}"`, files)
    for (const sparse of graph.sparseInitializer) checkSparse(sparse, 'a sparse initializer')
    checkNodes(graph.node)
  }
  const checkNodes = (nodes: readonly NodeProto[]) => {
    for (const node of nodes) {
      for (const attribute of node.attribute) {
        const what = `attribute "${attribute.name}" of node "${node.name}" (${node.opType})`
        for (const tensor of [attribute.t, ...attribute.tensors]) if (tensor) checkTensor(tensor, what, files)
        for (const sparse of [attribute.sparseTensor, ...attribute.sparseTensors]) if (sparse) checkSparse(sparse, what)
        for (const graph of [attribute.g, ...attribute.graphs]) if (graph) checkGraph(graph)
      }
    }
  }

  if (model.graph) checkGraph(model.graph)
  for (const body of model.functions) checkNodes(read('FunctionProto', body).node)
  for (const info of model.trainingInfo) {
    const { initialization, algorithm } = read('TrainingInfoProto', info)
    for (const graph of [initialization, algorithm]) if (graph) checkGraph(graph)
  }
}

/** The files that initializers refer to, in the order they first do. */
export function externalPathsOf({ graph }: ModelProto): string[] {
  const paths = graph?.initializer.filter(isExternal).map((tensor) => entryOf(tensor, 'location') ?? '')
  return [...new Set(paths)]
}

function isExternal({ dataLocation, externalData }: TensorProto): boolean {
  return dataLocation === EXTERNAL || externalData.length > 0
}

function entryOf(tensor: TensorProto, name: string): string | undefined {
  return tensor.externalData.find(({ key }) => key === name)?.value
}

function checkTensor(tensor: TensorProto, what: string, files: ExternalFiles): void {
  if (!isExternal(tensor)) return
  const location = entryOf(tensor, 'location') ?? ''
  const bytes = files.get(location)
  if (bytes !== undefined) {
    const offset = Number(entryOf(tensor, 'offset') ?? 0)
    const length = Number(entryOf(tensor, 'length') ?? 0)
    if (Number.isSafeInteger(offset + length) && offset >= 0 && length >= 0 && offset + length <= bytes) return
    throw invalid(`Cannot read the model: ${what} must lie within the ${bytes} bytes of the file "${location}"`)
  }
  const file = JSON.stringify(location.length > 80 ? `${location.slice(0, 77)}...` : location)
  throw invalid(
    `Cannot read the model: external data must come with it, got ${what} stored in the file ${file} (push it with \`shoal models push\` from the folder it lies in, or save it as one file: onnx.save_model(model, path, save_as_external_data=False))`,
  )
}
