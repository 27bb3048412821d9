import type { Bytes } from '../base/bytes.ts'
import { type MessageInit, node, type NodeProto, readModel, toTensorProto, writeModel } from '../models/onnx.ts'
import { invalid } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'

/** Where one parameter lies in the flat vector of all of them. */
export interface Parameter {
  /** Its initializer's name in the forward model. */
  readonly name: string
  readonly shape: readonly number[]
  /** Elements before it. */
  readonly offset: number
  /** Elements of it. */
  readonly size: number
}

/** Lays parameters end to end, in the model's order. @throws RpcError `invalid_argument` if one is not float32 */
export function layOut(parameters: ReadonlyMap<string, Tensor>): Parameter[] {
  let offset = 0
  return [...parameters].map(([name, { dtype, shape }]) => {
    if (dtype !== 'float32') {
      throw invalid(
        `Cannot train the model: initializer "${name}" must be float32, got ${dtype} (export it in float32)`,
      )
    }
    const size = product(shape)
    const parameter = { name, shape, offset, size }
    offset += size
    return parameter
  })
}

/** All values in one vector, in the order of the layout. */
export function pack(layout: readonly Parameter[], values: ReadonlyMap<string, Tensor>): Float32Array<ArrayBuffer> {
  const flat = new Float32Array(layout.reduce((total, { size }) => total + size, 0))
  for (const { name, offset } of layout) flat.set((values.get(name)?.data ?? []) as Float32Array, offset)
  return flat
}

/**
 * A forward model with other parameters: what training ends in, to be served like any model. Dropout, which has no GPU
 * kernel and does nothing outside of training, is taken out.
 * @param flat the values, in the order of the layout; not modified, and copied
 * @throws RpcError `invalid_argument` if the number of values is not the layout's or the model lacks a parameter
 */
export function withParameters(model: Uint8Array, layout: readonly Parameter[], flat: Float32Array): Bytes {
  const count = layout.reduce((total, { size }) => total + size, 0)
  if (flat.length !== count) {
    throw invalid(`Cannot write the model: its parameters must be ${count} values, got ${flat.length}`)
  }
  const proto = readModel(model)
  const fresh = new Map(layout.map(({ name, shape, offset, size }) => {
    return [name, toTensorProto(name, Tensor.from('float32', shape, flat.slice(offset, offset + size)))]
  }))
  const known = new Set(proto.graph.initializer.map(({ name }) => name))
  for (const { name } of layout) {
    if (!known.has(name)) throw invalid(`Cannot write the model: it must have the parameter "${name}", got none`)
  }
  const initializer = proto.graph.initializer.map((tensor) => fresh.get(tensor.name) ?? tensor)
  return writeModel({ ...proto, graph: { ...proto.graph, initializer, node: proto.graph.node.map(withoutDropout) } })
}

function withoutDropout(one: NodeProto): MessageInit<'NodeProto'> {
  const [x = ''] = one.input
  const [y = '', mask = ''] = one.output
  return one.opType === 'Dropout' && mask === '' ? { ...node('Identity', [x], [y]), name: one.name } : one
}
