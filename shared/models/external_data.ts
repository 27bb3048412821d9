import { invalid } from '../wire/errors.ts'
import { decode, fullBudget } from './onnx_codec.ts'
import { EXTERNAL, type GraphProto, type ModelProto, type NodeProto, type TensorProto } from './onnx_schema.ts'

/**
 * Refuses a model any tensor of which refers to another file: we hold one blob, and a path in a model from outside
 * must never reach a file system. Looks into attributes, subgraphs, functions, training graphs and sparse tensors.
 * @throws RpcError `invalid_argument` naming the tensor and the remedy
 */
export function checkSelfContained(model: ModelProto): void {
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
    if (values) checkTensor(values, what)
    if (indices) checkTensor(indices, what)
  }
  const checkGraph = (graph: GraphProto) => {
    for (const tensor of graph.initializer) checkTensor(tensor, `initializer "${tensor.name}"`)
    for (const sparse of graph.sparseInitializer) checkSparse(sparse, 'a sparse initializer')
    checkNodes(graph.node)
  }
  const checkNodes = (nodes: readonly NodeProto[]) => {
    for (const node of nodes) {
      for (const attribute of node.attribute) {
        const what = `attribute "${attribute.name}" of node "${node.name}" (${node.opType})`
        for (const tensor of [attribute.t, ...attribute.tensors]) if (tensor) checkTensor(tensor, what)
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

function checkTensor(tensor: TensorProto, what: string): void {
  if (tensor.dataLocation !== EXTERNAL && tensor.externalData.length === 0) return
  const location = tensor.externalData.find(({ key }) => key === 'location')?.value ?? ''
  const file = JSON.stringify(location.length > 80 ? `${location.slice(0, 77)}...` : location)
  throw invalid(
    `Cannot read the model: external data is not accepted, got ${what} stored in the file ${file} (save it as one file: onnx.save_model(model, path, save_as_external_data=False))`,
  )
}
