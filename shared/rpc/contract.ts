import type { StandardSchemaV1 } from '@standard-schema/spec'
import { LIMITS } from '../base/limits.ts'
import { isVersion } from '../base/version.ts'
import { RpcError } from '../wire/errors.ts'
import type { Deprecation } from './deprecation.ts'

/** A contract: what a service offers, written once and imported by callers and servers alike. */
export interface ServiceContract<M extends Methods = Methods> {
  readonly name: string
  /** Semver of the contract; callers ask for a range of it. */
  readonly version: string
  /** Of all its methods. */
  readonly deprecated?: Deprecation
  readonly methods: M
}

export type Schema = StandardSchemaV1
export type Methods = Readonly<Record<string, Method>>
export type Method<I extends Schema = Schema, O extends Schema = Schema> = UnaryMethod<I, O> | StreamingMethod<I, O>

interface MethodBase<I extends Schema, O extends Schema> {
  readonly input: I
  readonly output: O
  /** True if calling twice does no more than calling once: only then is a call retried after it may have begun. */
  readonly idempotent: boolean
  /** Why callers should stop using it, and what to use instead. */
  readonly deprecated?: Deprecation
}

export interface UnaryMethod<I extends Schema = Schema, O extends Schema = Schema> extends MethodBase<I, O> {
  readonly kind: 'unary'
}

/** One input, many outputs; `output` is the schema of each. */
export interface StreamingMethod<I extends Schema = Schema, O extends Schema = Schema> extends MethodBase<I, O> {
  readonly kind: 'server_streaming'
}

interface MethodOptions<I extends Schema, O extends Schema> {
  input: I
  output: O
  idempotent?: boolean
  deprecated?: Deprecation
}

export function unary<I extends Schema, O extends Schema>(options: MethodOptions<I, O>): UnaryMethod<I, O> {
  return { kind: 'unary', idempotent: false, ...options }
}

export function serverStreaming<I extends Schema, O extends Schema>(
  options: MethodOptions<I, O>,
): StreamingMethod<I, O> {
  return { kind: 'server_streaming', idempotent: false, ...options }
}

const SERVICE_NAME = /^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*$/
const METHOD_NAME = /^[A-Za-z][A-Za-z0-9_]*$/

/** @throws RpcError `invalid_argument` for a name or version that could not stand in a URL or be matched by a range */
export function defineService<const M extends Methods>(contract: ServiceContract<M>): ServiceContract<M> {
  if (!SERVICE_NAME.test(contract.name)) {
    throw bad(`service name must look like "demo.Hello", got "${contract.name}"`)
  }
  if (!isVersion(contract.version)) throw bad(`version must be semver such as 1.0.0, got "${contract.version}"`)
  if (contract.name.length > LIMITS.maxNameLength) {
    throw bad(`service name must have at most ${LIMITS.maxNameLength} characters, got ${contract.name.length}`)
  }
  checkDeprecation(contract.deprecated)
  for (const [name, { deprecated }] of Object.entries<Method>(contract.methods)) {
    checkDeprecation(deprecated)
    // A client with a method `then` would be called by every await.
    if (!METHOD_NAME.test(name) || name === 'then' || name.length > LIMITS.maxNameLength) {
      throw bad(`method name must look like "sayHello", got "${name}"`)
    }
  }
  return Object.freeze(contract)
}

function checkDeprecation(deprecation: Deprecation | undefined): void {
  if (typeof deprecation !== 'object' || /^\d{4}-\d\d-\d\d/.test(deprecation.since) && Date.parse(deprecation.since)) {
    return
  }
  throw bad(`deprecated.since must be a date such as 2026-11-01, got "${deprecation.since}"`)
}

function bad(reason: string) {
  return new RpcError('invalid_argument', `Cannot define the service: ${reason}`)
}

/**
 * Checks a value against a schema.
 * @returns the value as the schema gives it back (defaults filled in, types coerced where it does so), as a promise only
 * if the schema checks asynchronously: awaiting what is there already costs a call a turn of the queue
 * @throws RpcError `code` naming the path of the first problem
 */
export function validate(
  schema: Schema,
  value: unknown,
  what: string,
  code: 'invalid_argument' | 'internal',
): unknown {
  const outcome = schema['~standard'].validate(value)
  return outcome instanceof Promise ? outcome.then((result) => accept(result, what, code)) : accept(outcome, what, code)
}

function accept(
  result: StandardSchemaV1.Result<unknown>,
  what: string,
  code: 'invalid_argument' | 'internal',
): unknown {
  if (!result.issues) return result.value
  const details = result.issues.slice(0, LIMITS.maxErrorDetails).map(({ message, path = [] }) => {
    return { message, path: path.map((segment) => String(typeof segment === 'object' ? segment.key : segment)) }
  })
  const [first] = details
  const path = first?.path.join('.').slice(0, LIMITS.maxNameLength)
  throw new RpcError(code, `Cannot accept ${what}: ${path ? `at "${path}": ` : ''}${first?.message}`, { details })
}
