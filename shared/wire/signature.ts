import type { DType } from './dtype.ts'

/** One input or output of a model. A dimension of -1 is free; `axes` keeps its name where the model gives one. */
export interface TensorSpec {
  name: string
  dtype: DType
  /** -1 for a free dimension. */
  shape: readonly number[]
  /** Names of free dimensions by position ('' where unnamed or fixed). */
  axes: readonly string[]
}

export interface Signature {
  inputs: readonly TensorSpec[]
  outputs: readonly TensorSpec[]
  /** True if axis 0 of every input and output is one and the same free dimension: calls may be joined along it. */
  batchable: boolean
}

/** What the registry of models knows of one version. Its bytes are the blob `sha256`. */
export interface ModelManifest {
  name: string
  version: string
  /** 64 lower-case hex digits; the model's identity everywhere. */
  sha256: string
  bytes: number
  signature: Signature
  /** Opset of the default ONNX domain. */
  opset: number
  /** Of its weights; not known of a model that was pushed before this was read. */
  largestTensorBytes?: number
  /** The same inputs give the same outputs: nothing in it draws numbers. Not known of older ones either. */
  deterministic?: boolean
  createdAt: string
  /** Class names and the like, shown by the console. */
  labels?: readonly string[]
  /** Of a model in several blobs: what its files are called, and the hashes of their pieces. */
  files?: readonly { path: string; bytes: number }[]
  pieces?: readonly string[]
  /** Only 'public' models go to volunteers. Private where nothing is said. */
  visibility?: 'public' | 'private'
  /** How long its calls may wait for others to share their run though a worker is free; not at all where nothing is said. */
  maxQueueDelayUs?: number
  /** Sizes of runs, in rows, that workers make on zeros when they have loaded it. None where nothing is said. */
  warmUp?: readonly number[]
  /** Gateways may keep its answers: for how long, and how many bytes each of them. Not where nothing is said. */
  cache?: { ttlMs: number; maxBytes: number }
  /** How it is run again and again on its own outputs; not at all where nothing is said. */
  loop?: ModelLoop
}

/** Generation: each step's outputs become the next one's inputs. */
export interface ModelLoop {
  /** Which output is fed to which input, by name. Other inputs stay as they were given. */
  feed: Readonly<Record<string, string>>
  /** Outputs that callers see, all where left out. */
  emit?: readonly string[]
  maxSteps: number
  /** The step that has this value in all of an output is the last one. */
  stop?: { output: string; equals: number }
}
