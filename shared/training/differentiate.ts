import { RpcError } from '../wire/errors.ts'
import type { Builder } from './builder.ts'
import { type GradientRule, GRADIENTS } from './gradients.ts'
import { type GraphNode, sameShape } from './graph.ts'
import { refusal } from './refusal.ts'

/**
 * Reverse-mode differentiation: appends to the graph the gradient of a scalar with respect to each of `parameters`.
 * Walks the nodes backwards, asks each one's rule, and adds up where a value is used more than once, always in the same
 * order, so that equal graphs give equal bits.
 * @param loss a value of one element
 * @returns the gradients' names, in the order of `parameters`, each of its parameter's shape; zeros where none flows
 * @throws RpcError `invalid_argument` naming the node if an operator on the way has no rule
 */
export function differentiate(
  b: Builder,
  loss: string,
  parameters: readonly string[],
  rules: Readonly<Record<string, GradientRule>> = GRADIENTS,
): string[] {
  const dependent = dependents(b, parameters)
  const parts = new Map<string, string[]>([[loss, [b.expand(b.scalar(1, b.dtype(loss)), b.shape(loss))]]])
  for (const node of [...b.nodes].reverse()) {
    const dys = node.outputs.map((name) => total(b, parts.get(name)))
    const first = dys.find((dy) => dy !== undefined)
    if (first === undefined || !node.inputs.some((name) => dependent.has(name))) continue
    b.origin = node.origin
    const gradients = ruleOf(node, rules)(b, node, dys[0] ?? first, dys)
    for (const [i, name] of node.inputs.entries()) {
      const gradient = gradients[i]
      if (gradient === undefined || !dependent.has(name)) continue
      checkShape(b, node, name, gradient)
      parts.set(name, [...(parts.get(name) ?? []), gradient])
    }
  }
  return parameters.map((name) => total(b, parts.get(name)) ?? b.expand(b.scalar(0, b.dtype(name)), b.shape(name)))
}

/** Every float value that depends on one of `roots`, the roots included. */
function dependents(b: Builder, roots: readonly string[]): Set<string> {
  const found = new Set(roots)
  for (const node of b.nodes) {
    if (!node.inputs.some((name) => found.has(name))) continue
    for (const name of node.outputs) if (b.isFloat(name)) found.add(name)
  }
  return found
}

function total(b: Builder, parts: readonly string[] | undefined): string | undefined {
  return parts?.reduce((sum, part) => b.add(sum, part))
}

function ruleOf(node: GraphNode, rules: Readonly<Record<string, GradientRule>>): GradientRule {
  const rule = Object.hasOwn(rules, node.op) ? rules[node.op] : undefined
  if (rule) return rule
  throw refusal(node.origin, 'be of an operator with a gradient rule', node.op, 'leave it out of what is trained')
}

function checkShape(b: Builder, node: GraphNode, input: string, gradient: string): void {
  if (sameShape(b.shape(input), b.shape(gradient)) && b.dtype(input) === b.dtype(gradient)) return
  throw new RpcError(
    'internal',
    `Cannot build the step graph: ${node.op} gives [${b.shape(gradient)}] as the gradient of [${b.shape(input)}]`,
  )
}
