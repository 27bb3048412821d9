/** The little of the peers' APIs that the training benchmark and the oracles use; see peers.d.ts. */
declare module '@tensorflow/tfjs' {
  export interface TfTensor {
    data(): Promise<Float32Array>
    dispose(): void
    reshape<T extends TfTensor>(shape: readonly number[]): T
  }
  export interface Variable extends TfTensor {
    assign(value: TfTensor): void
  }
  type Shape = readonly number[]
  export function setBackend(name: 'wasm' | 'cpu'): Promise<boolean>
  export function ready(): Promise<void>
  export function tensor(
    values: ArrayLike<number>,
    shape: Shape,
    dtype?: 'float32' | 'int32',
  ): TfTensor
  export function variable(
    value: TfTensor,
    trainable: boolean,
    name: string,
  ): Variable
  export function tidy<T>(work: () => T): T
  export function variableGrads(
    loss: () => TfTensor,
    variables: readonly Variable[],
  ): { value: TfTensor; grads: Record<string, TfTensor> }
  export function add(a: TfTensor, b: TfTensor | number): TfTensor
  export function sub(a: TfTensor, b: TfTensor | number): TfTensor
  export function mul(a: TfTensor, b: TfTensor | number): TfTensor
  export function div(a: TfTensor, b: TfTensor | number): TfTensor
  export function sqrt(x: TfTensor): TfTensor
  export function square(x: TfTensor): TfTensor
  export function relu(x: TfTensor): TfTensor
  export function matMul(a: TfTensor, b: TfTensor): TfTensor
  export function transpose(x: TfTensor, axes: Shape): TfTensor
  export function reshape(x: TfTensor, shape: Shape): TfTensor
  export function sum(x: TfTensor, axes?: Shape): TfTensor
  export function mean(x: TfTensor, axes: Shape, keepDims: boolean): TfTensor
  export function neg(x: TfTensor): TfTensor
  export function logSoftmax(x: TfTensor): TfTensor
  export function conv2d(
    x: TfTensor,
    filter: TfTensor,
    strides: number,
    pad: 'same',
  ): TfTensor
  export function maxPool(
    x: TfTensor,
    size: number,
    strides: number,
    pad: 'valid',
  ): TfTensor
}

declare module '@tensorflow/tfjs-backend-wasm' {
  export function setWasmPaths(folder: string): void
}

declare module '@jax-js/jax' {
  /** An operation takes what it is given; whoever goes on using it passes `ref`. */
  export interface NdArray {
    readonly ref: NdArray
    add(other: NdArray | number): NdArray
    sub(other: NdArray | number): NdArray
    mul(other: NdArray | number): NdArray
    div(other: NdArray | number): NdArray
    neg(): NdArray
    sum(axis?: number | number[]): NdArray
    reshape(shape: readonly number[]): NdArray
    transpose(axes: readonly number[]): NdArray
    data(): Promise<Float32Array>
    dispose(): void
    blockUntilReady(): Promise<NdArray>
  }
  interface Axes {
    keepdims?: boolean
  }
  export function init(...devices: 'wasm'[]): Promise<string[]>
  export function defaultDevice(device: 'wasm'): void
  export const numpy: {
    array(
      values: Float32Array | Int32Array,
      options: { shape: readonly number[] },
    ): NdArray
    matmul(a: NdArray, b: NdArray): NdArray
    mean(x: NdArray, axes: readonly number[], options: Axes): NdArray
    square(x: NdArray): NdArray
    sqrt(x: NdArray): NdArray
    max(x: NdArray, axes: readonly number[]): NdArray
  }
  export const nn: {
    relu(x: NdArray): NdArray
    logSoftmax(x: NdArray): NdArray
  }
  export const lax: {
    conv(
      x: NdArray,
      filter: NdArray,
      strides: readonly number[],
      padding: 'SAME',
    ): NdArray
  }
  export function jit<A extends unknown[], R>(
    work: (...args: A) => R,
  ): (...args: A) => R
  export function valueAndGrad<P>(
    loss: (parameters: P, x: NdArray, target: NdArray) => NdArray,
  ): (parameters: P, x: NdArray, target: NdArray) => [NdArray, P]
}
