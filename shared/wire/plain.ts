import { LIMITS } from '../base/limits.ts'
import { invalid } from './errors.ts'
import { isForbiddenKey } from './key_table.ts'
import { Tensor } from './tensor.ts'

/** What one codec makes of a value. */
export interface Form {
  name: string
  /** Takes NaN, infinities and bytes, which JSON has no words for. */
  binary: boolean
  /** What stands in a tensor's place; without it the value stays as it is and is not copied. */
  tensor?: (tensor: Tensor) => unknown
}

/** One level is the frame header's, and a tensor is a map with a list in it. */
const MAX_DEPTH = LIMITS.maxDepth - 1
const TENSOR_DEPTH = 2

/** The keys that led to where the walk is: names the place in a refusal. Used by one walk at a time. */
const path: (string | number)[] = []

/**
 * Checks that a value arrives as it was sent: plain objects, lists, texts, numbers, booleans, null, bytes and tensors.
 * Anything else would be changed silently on its way (a Date, a Map, half a surrogate pair) or refused at its end.
 * @returns the value, or a copy of it in which `form.tensor` replaced the tensors
 * @throws RpcError `invalid_argument` naming the place
 */
export function toPlain(value: unknown, form: Form): unknown {
  path.length = 0
  return visit(value, 0, form)
}

function visit(value: unknown, depth: number, form: Form): unknown {
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) throw refuse(depth, form, 'half of a surrogate pair in a text')
      return value
    case 'number':
      if (!form.binary && !Number.isFinite(value)) throw refuse(depth, form, String(value))
      return value
    case 'boolean':
    case 'undefined':
      return value
    case 'object':
      break
    default:
      throw refuse(depth, form, `a ${typeof value}`)
  }
  if (value === null) return null
  if (value instanceof Uint8Array) {
    if (!form.binary) throw refuse(depth, form, 'bytes; use a uint8 tensor')
    return value
  }
  const isTensor = value instanceof Tensor
  if (depth + (isTensor ? TENSOR_DEPTH : 1) > MAX_DEPTH) {
    throw refuse(0, form, `a value nested more than ${MAX_DEPTH} deep`)
  }
  if (isTensor) return form.tensor ? form.tensor(value) : value
  return Array.isArray(value) ? visitArray(value, depth, form) : visitObject(value, depth, form)
}

function visitArray(values: readonly unknown[], depth: number, form: Form): unknown {
  const copy: unknown[] | undefined = form.tensor && []
  for (let i = 0; i < values.length; i++) {
    path[depth] = i
    const entry = visit(values[i], depth + 1, form)
    copy?.push(entry)
  }
  return copy ?? values
}

function visitObject(value: object, depth: number, form: Form): unknown {
  const prototype = Object.getPrototypeOf(value)
  // A plain object of another realm has a prototype of its own, but nothing above it.
  if (prototype !== Object.prototype && prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw refuse(depth, form, `an instance of ${prototype.constructor?.name ?? 'a class'}`)
  }
  const copy: Record<string, unknown> | undefined = form.tensor && {}
  for (const key of Object.keys(value)) {
    const entry = (value as Record<string, unknown>)[key]
    if (entry === undefined) continue
    path[depth] = key
    if (key === '$tensor' || isForbiddenKey(key)) throw refuse(depth + 1, form, `the reserved key "${key}"`)
    if (!key.isWellFormed()) throw refuse(depth + 1, form, 'half of a surrogate pair in a key')
    const plain = visit(entry, depth + 1, form)
    if (copy) copy[key] = plain
  }
  return copy ?? value
}

function refuse(depth: number, form: Form, got: string) {
  const at = depth > 0 ? ` at "${path.slice(0, depth).join('.').slice(0, 200)}"` : ''
  return invalid(`Cannot encode the message as ${form.name}: expected plain data and tensors, got ${got}${at}`)
}
