import type { StandardSchemaV1 } from '@standard-schema/spec'
import { isRange, satisfies } from '../base/version.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { type Codec, decodePayload, encodePayload, type Payload } from '../wire/payload.ts'
import { type Method, type Methods, type ServiceContract, type UnaryMethod, validate } from './contract.ts'
import { type Metadata, problemOf } from './metadata.ts'
import { intercept, type Interceptor, type RpcRequest, type RpcResponse, type Send } from './send.ts'

/** What a handler knows of its call. */
export interface Context {
  /** Aborts when the caller has gone or its deadline passed: stop working then. */
  signal: AbortSignal
  /** Time left when the call arrived. */
  timeoutMs: number
  metadata: Metadata
  traceparent: string
  /** Adds to the response's metadata. */
  setMetadata(name: string, value: string): void
}

type Input<M extends Method> = StandardSchemaV1.InferOutput<M['input']>
type Output<M extends Method> = StandardSchemaV1.InferInput<M['output']>

/** The functions behind a contract. */
export type Handlers<C extends ServiceContract> = {
  readonly [K in keyof C['methods']]: C['methods'][K] extends UnaryMethod
    ? (input: Input<C['methods'][K]>, context: Context) => Output<C['methods'][K]> | Promise<Output<C['methods'][K]>>
    : (input: Input<C['methods'][K]>, context: Context) => AsyncIterable<Output<C['methods'][K]>>
}

/** A contract with its handlers: what a server is made of. */
export interface Implementation {
  readonly contract: ServiceContract
  readonly handlers: Readonly<Record<string, (input: never, context: Context) => unknown>>
}

export function implement<const M extends Methods>(
  contract: ServiceContract<M>,
  handlers: Handlers<ServiceContract<M>>,
): Implementation {
  return { contract, handlers: handlers as Implementation['handlers'] }
}

/** Dispatches requests to implementations. Answers come in the codec the request came in. */
export function createServer(implementations: readonly Implementation[], interceptors?: readonly Interceptor[]): Send {
  const services = new Map(implementations.map((one) => [one.contract.name, one]))
  return intercept((request) => dispatch(services, request), interceptors)
}

async function dispatch(services: ReadonlyMap<string, Implementation>, request: RpcRequest): Promise<RpcResponse> {
  const { implementation, method } = find(services, request)
  const label = `${request.service}/${request.method}`
  const { codec } = request.payload
  // What came from this very process was checked by its types.
  const trusted = codec === 'value'
  const received = decodePayload(request.payload)
  const checked = trusted ? received : validate(method.input, received, `the input of ${label}`, 'invalid_argument')
  const input = checked instanceof Promise ? await checked : checked
  const metadata: Record<string, string> = {}
  const context: Context = {
    signal: request.signal,
    timeoutMs: request.timeoutMs,
    metadata: request.metadata,
    traceparent: request.traceparent,
    setMetadata(name, value) {
      const problem = problemOf(name, value)
      if (problem) throw new RpcError('internal', `Cannot set the metadata of ${label}: ${problem}`)
      metadata[name] = value
    },
  }
  const outcome = implementation.handlers[request.method]?.(input as never, context)
  if (method.kind === 'unary') {
    const result = outcome instanceof Promise ? await outcome : outcome
    const valid = trusted ? result : validate(method.output, result, `the output of ${label}`, 'internal')
    const output = valid instanceof Promise ? await valid : valid
    return { kind: 'unary', metadata, payload: encodeOutput(output, codec, label) }
  }
  return { kind: 'stream', metadata, payloads: encodeEach(outcome as AsyncIterable<unknown>, method, label, codec) }
}

function find(services: ReadonlyMap<string, Implementation>, request: RpcRequest) {
  const implementation = services.get(request.service)
  if (!implementation) {
    throw new RpcError(
      'unimplemented',
      `Cannot call ${request.service}: expected one of ${[...services.keys()].join(', ')}`,
    )
  }
  const { contract } = implementation
  if (!satisfies(contract.version, request.version)) {
    if (!isRange(request.version)) {
      throw invalid(`Cannot call ${request.service}: version must be a semver range, got "${request.version}"`)
    }
    throw new RpcError(
      'failed_precondition',
      `Cannot call ${request.service}: version ${request.version} was asked for, this server has ${contract.version}`,
      { neverSent: true },
    )
  }
  const method = Object.hasOwn(contract.methods, request.method) ? contract.methods[request.method] : undefined
  if (!method) {
    const known = Object.keys(contract.methods).join(', ')
    throw new RpcError('unimplemented', `Cannot call ${request.service}/${request.method}: expected one of ${known}`)
  }
  if (request.stream !== (method.kind === 'server_streaming')) {
    throw new RpcError(
      'invalid_argument',
      `Cannot call ${request.service}/${request.method}: it is a ${method.kind} method`,
    )
  }
  return { implementation, method }
}

/** What cannot be encoded passed its schema, but is nothing that the caller could mend. */
function encodeOutput(output: unknown, codec: Codec, label: string): Payload {
  try {
    return encodePayload(output, codec)
  } catch (cause) {
    throw new RpcError('internal', `Cannot send the output of ${label}: ${RpcError.from(cause).message}`, { cause })
  }
}

async function* encodeEach(
  items: AsyncIterable<unknown>,
  method: Method,
  label: string,
  codec: Codec,
): AsyncGenerator<Payload> {
  for await (const item of items) {
    yield encodeOutput(await validate(method.output, item, `an output of ${label}`, 'internal'), codec, label)
  }
}
