import type { Bytes } from '../base/bytes.ts'
import { type Random, seededRandom } from '../base/random.ts'
import { type MessageInit, node, tensorInfo, toTensorProto, writeModel } from '../models/onnx.ts'
import type { AttributeValue } from '../models/onnx_build.ts'
import type { DType } from '../wire/dtype.ts'
import { product, Tensor } from '../wire/tensor.ts'
import { range } from './graph.ts'

/** Has Gelu; every operator used has a WebGPU kernel at it. */
const OPSET = 20
const IR_VERSION = 8

/** A value in the model, or an initializer. */
export type Name = string

/**
 * Writes a new forward model: nodes in order, initializers with random weights. Names of initializers are the
 * parameters' public names, as in `layer0.weight`.
 */
export class ModelWriter {
  readonly #random: Random
  readonly #nodes: MessageInit<'NodeProto'>[] = []
  readonly #initializers: MessageInit<'TensorProto'>[] = []

  /** @param seed of the initial weights: the same seed gives the same bytes on every machine */
  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  add(op: string, inputs: readonly Name[], attributes?: Readonly<Record<string, AttributeValue>>): Name {
    return this.addAll(op, inputs, 1, attributes)[0] ?? ''
  }
  addAll(
    op: string,
    inputs: readonly Name[],
    outputs: number,
    attributes?: Readonly<Record<string, AttributeValue>>,
  ): Name[] {
    const index = this.#nodes.length
    const names = range(outputs).map((i) => `${op.toLowerCase()}${index}${outputs > 1 ? `.${i}` : ''}`)
    this.#nodes.push(node(op, inputs, names, attributes))
    return names
  }

  constant(name: Name, tensor: Tensor): Name {
    this.#initializers.push(toTensorProto(name, tensor))
    return name
  }
  filled(name: Name, shape: readonly number[], value: number): Name {
    return this.constant(name, Tensor.from('float32', shape, new Float32Array(product(shape)).fill(value)))
  }
  /** Uniform between ±bound. Not normal: that takes a logarithm and a cosine, whose last bits differ by machine. */
  uniform(name: Name, shape: readonly number[], bound: number): Name {
    const values = Float32Array.from({ length: product(shape) }, () => bound * (2 * this.#random() - 1))
    return this.constant(name, Tensor.from('float32', shape, values))
  }

  /** @param output its shape, the first axis free and named N like the input's */
  finish(
    input: { name: string; dtype: DType; shape: readonly number[] },
    output: { name: string; value: Name; shape: readonly number[] },
    description: string,
  ): Bytes {
    return writeModel({
      irVersion: IR_VERSION,
      producerName: 'shoal',
      opsetImport: [{ version: OPSET }],
      docString: description,
      graph: {
        name: 'model',
        input: [tensorInfo(input.name, input.dtype, ['N', ...input.shape])],
        output: [tensorInfo(output.name, 'float32', ['N', ...output.shape])],
        initializer: this.#initializers,
        node: [...this.#nodes, node('Identity', [output.value], [output.name])],
      },
    })
  }
}

/** Bound of uniform weights before a rectifier (He et al. 2015): keeps the variance of what goes forward. */
export function heBound(fanIn: number): number {
  return Math.sqrt(6 / fanIn)
}
/** Bound of uniform weights elsewhere (Glorot and Bengio 2010): keeps the variance both ways. */
export function xavierBound(fanIn: number, fanOut: number): number {
  return Math.sqrt(6 / (fanIn + fanOut))
}
