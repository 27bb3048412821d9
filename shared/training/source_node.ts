import { attribute, type NodeProto } from '../models/onnx.ts'
import { invalid, type RpcError } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import { normalizeAxes, type Origin, range } from './graph.ts'
import { refusal } from './refusal.ts'
import type { Trace } from './trace_shapes.ts'

/** What lowering a node needs from around it. */
export interface Surroundings {
  readonly builder: Builder
  readonly trace: Trace
  readonly opset: number
  /** Names in the graph under construction, by those in the user's model. */
  readonly names: Map<string, string>
  /** Declares the mask of a Dropout node, or undefined where dropout is off. */
  dropoutMask?: (shape: readonly number[], ratio: number) => string
}

/** A node of the user's model, at its own opset, with what the trace knows. */
export class SourceNode {
  readonly origin: Origin
  readonly #proto: NodeProto
  readonly #around: Surroundings

  constructor(proto: NodeProto, origin: Origin, around: Surroundings) {
    this.#proto = proto
    this.origin = origin
    this.#around = around
  }

  get opset(): number {
    return this.#around.opset
  }
  get inputCount(): number {
    return this.#proto.input.length
  }
  has(index: number): boolean {
    return (this.#proto.input[index] ?? '') !== ''
  }

  /** The value at an input, in the graph under construction. Values that only sizes decide become constants. */
  input(index: number): string {
    const { builder, names } = this.#around
    const name = this.#proto.input[index] ?? ''
    const known = names.get(name)
    if (known !== undefined) return known
    const value = builder.constant(withoutInt64(name, this.#constant(name, `have input ${index}`)))
    names.set(name, value)
    return value
  }
  inputs(): string[] {
    return range(this.inputCount).map((i) => this.input(i))
  }

  /** The value of an input that must not depend on data; undefined if the node does not have that input. */
  constant(index: number): Tensor | undefined {
    return this.has(index)
      ? this.#constant(this.#proto.input[index] ?? '', `have a constant input ${index}`)
      : undefined
  }
  isConstant(index: number): boolean {
    return this.has(index) && this.#around.trace.value(this.#proto.input[index] ?? '') !== undefined
  }

  /** The first element of a constant input. */
  scalar(index: number): number | undefined {
    const value = this.constant(index)
    return value && Number((value.data as ArrayLike<number | bigint>)[0])
  }

  /** A list of whole numbers: the attribute (older opsets) or else the constant input (newer ones). */
  list(name: string, input: number): readonly number[] | undefined {
    const given = attribute(this.#proto, name, 'ints', undefined)
    if (given) return given
    const values = this.constant(input)
    return values && Array.from(values.data as ArrayLike<number | bigint>, Number)
  }
  /** A number: the attribute (older opsets) or else the constant input (newer ones). */
  number<T>(name: string, input: number, otherwise: T): number | T {
    const given = this.float<number | undefined>(name, undefined)
    if (given !== undefined) return given
    return this.scalar(input) ?? otherwise
  }

  int<T = number>(name: string, otherwise: number | T): number | T {
    return attribute(this.#proto, name, 'int', otherwise)
  }
  ints<T>(name: string, otherwise: T): readonly number[] | T {
    return attribute(this.#proto, name, 'ints', otherwise)
  }
  float<T = number>(name: string, otherwise: number | T): number | T {
    return attribute(this.#proto, name, 'float', otherwise)
  }
  text(name: string, otherwise: string): string {
    return attribute(this.#proto, name, 'string', otherwise)
  }

  /** The shape of an input or output as the trace saw it. */
  inputShape(index: number): readonly number[] {
    return this.#around.trace.shape(this.#proto.input[index] ?? '')
  }
  shape(output = 0): readonly number[] {
    return this.#around.trace.shape(this.#proto.output[output] ?? '')
  }
  /** The shapes of all outputs. */
  shapes(): (readonly number[])[] {
    return this.#proto.output.map((_, i) => this.shape(i))
  }
  /** The axes it reduces: the attribute or input `axes`, by default all of them. */
  axes(input: number): number[] {
    const { length } = this.inputShape(0)
    const axes = this.list('axes', input) ?? []
    if (axes.length > 0) return normalizeAxes(axes, length)
    return this.int('noop_with_empty_axes', 0) === 1 ? [] : range(length)
  }

  dropoutMask(shape: readonly number[], ratio: number): string | undefined {
    return this.#around.dropoutMask?.(shape, ratio)
  }

  refuse(requirement: string, got: string, remedy: string): RpcError {
    return refusal(this.origin, requirement, got, remedy)
  }

  #constant(name: string, requirement: string): Tensor {
    const value = this.#around.trace.value(name)
    if (value) return value
    throw this.refuse(requirement, `"${name}", which is computed from data`, 'make it a constant')
  }
}

/** GPUs have no int64: as a value, not as a size, it becomes int32. */
function withoutInt64(name: string, tensor: Tensor): Tensor {
  if (tensor.dtype !== 'int64') return tensor
  const values = Array.from((tensor as Tensor<'int64'>).data, Number)
  if (values.every((value) => value === (value | 0))) return Tensor.from('int32', tensor.shape, values)
  throw invalid(`Cannot train the model: integers in "${name}" must fit into 32 bits, got [${values.slice(0, 8)}]`)
}
