import type { Bytes } from '../base/bytes.ts'
import { type MessageInit, node, tensorInfo, toTensorProto, writeModel } from '../models/onnx.ts'
import { Tensor } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import { type Attributes, type GraphNode, range } from './graph.ts'

/** Opset 17 and IR 8: every operator used here has a WebGPU kernel at that version, and later ones gain nothing. */
const OPSET = 17
const IR_VERSION = 8

/** An output under its public name. */
export interface NamedOutput {
  readonly name: string
  readonly value: string
}

/** Writes what the outputs need of a graph, and no more, as an ONNX file. Inputs are declared even if unused. */
export function writeGraph(b: Builder, outputs: readonly NamedOutput[]): Bytes {
  const settings = new Settings()
  // An Identity gives an output its name, and stands where an output is an input or a constant; ONNX Runtime drops it.
  const nodes = [
    ...neededNodes(b, outputs.map(({ value }) => value)).map((one) => onnxNode(one, settings)),
    ...outputs.map(({ name, value }) => node('Identity', [value], [name])),
  ]
  const used = new Set(nodes.flatMap(({ input = [] }) => input))
  const constants = [...b.constants, ...settings.tensors].filter(([name]) => used.has(name))
  return writeModel({
    irVersion: IR_VERSION,
    producerName: 'shoal',
    opsetImport: [{ version: OPSET }],
    graph: {
      name: 'step',
      input: b.inputs.map(({ name, type }) => tensorInfo(name, type.dtype, type.shape)),
      output: outputs.map(({ name, value }) => tensorInfo(name, b.dtype(value), b.shape(value))),
      initializer: constants.map(([name, tensor]) => toTensorProto(name, tensor)),
      node: nodes,
    },
  })
}

function neededNodes(b: Builder, outputs: readonly string[]): GraphNode[] {
  const wanted = new Set(outputs)
  const kept: GraphNode[] = []
  for (const one of [...b.nodes].reverse()) {
    if (!one.outputs.some((name) => wanted.has(name))) continue
    for (const name of one.inputs) wanted.add(name)
    kept.push(one)
  }
  return kept.reverse()
}

/** Sizes, axes and pads as the int64 initializers that ONNX wants; equal ones are written once. */
class Settings {
  readonly tensors = new Map<string, Tensor>()

  add(values: readonly number[]): string {
    const name = `sizes:${values.join(',')}`
    if (!this.tensors.has(name)) this.tensors.set(name, Tensor.from('int64', [values.length], values))
    return name
  }
}

function onnxNode(one: GraphNode, settings: Settings): MessageInit<'NodeProto'> {
  const write = Object.hasOwn(WRITERS, one.op) ? WRITERS[one.op] : undefined
  const { op = one.op, inputs = one.inputs, attributes = one.attributes } = write?.(one, settings) ?? {}
  return node(op, inputs, one.outputs, attributes)
}

interface Written {
  op?: string
  inputs?: readonly string[]
  attributes?: Attributes
}

/** Operators whose opset-17 form is not the canonical one: settings that are inputs there. */
const WRITERS: Readonly<Record<string, (one: GraphNode, settings: Settings) => Written>> = {
  Reshape: (one, settings) => ({ inputs: [one.x, settings.add(one.ints('shape'))], attributes: {} }),
  Expand: (one, settings) => ({ inputs: [one.x, settings.add(one.ints('shape'))], attributes: {} }),
  ReduceSum: (one, settings) => ({ inputs: [one.x, settings.add(one.ints('axes'))], attributes: { keepdims: 1 } }),
  Split: (one, settings) => ({
    inputs: [one.x, settings.add(one.ints('split'))],
    attributes: { axis: one.int('axis') },
  }),
  Slice: (one, settings) => {
    const [starts, sizes] = [one.ints('starts'), one.ints('sizes')]
    const ends = starts.map((start, axis) => start + (sizes[axis] ?? 0))
    return {
      inputs: [one.x, ...[starts, ends, range(starts.length)].map((list) => settings.add(list))],
      attributes: {},
    }
  },
  Pad: (one, settings) => ({
    inputs: [one.x, settings.add(one.ints('pads')), ...(one.w ? [one.w] : [])],
    attributes: { mode: one.text('mode') },
  }),
  StopGradient: () => ({ op: 'Identity' }),
}
