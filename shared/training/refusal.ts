import type { NodeProto } from '../models/onnx.ts'
import { invalid, type RpcError } from '../wire/errors.ts'
import type { Origin } from './graph.ts'

/** The one form of every refusal that is about a node of the user's model: which, what it must, what it is, what to do. */
export function refusal({ op, name }: Origin, requirement: string, got: string, remedy: string): RpcError {
  return invalid(`Cannot train the model: node "${name}" (${op}) must ${requirement}, got ${got}; ${remedy}`)
}

/** A node without a name goes by its output's. */
export function originOf(node: NodeProto): Origin {
  return { op: node.opType, name: node.name || (node.output[0] ?? '') }
}
