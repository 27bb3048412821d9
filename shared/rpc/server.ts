import type { StandardSchemaV1 } from '@standard-schema/spec'
import { type Clock, systemClock } from '../base/clock.ts'
import { isRange, satisfies } from '../base/version.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { type Codec, decodePayload, encodePayload, type Payload } from '../wire/payload.ts'
import { type Method, type Methods, type ServiceContract, type UnaryMethod, validate } from './contract.ts'
import { metadataOf } from './deprecation.ts'
import { type Metadata, problemOf } from './metadata.ts'
import { intercept, type Interceptor, type RpcRequest, type RpcResponse, type Send } from './send.ts'

/** What a handler knows of its call. */
export interface Context {
  /** Aborts when the caller has gone or its deadline passed: stop working then. */
  signal: AbortSignal
  /** Time left when the call arrived. */
  timeoutMs: number
  /** The time of day at which its time is over, as `Date.now()` tells it. */
  deadlineMs: number
  /** What the caller sent beside its message: over HTTP, headers that begin with x-. */
  metadata: Metadata
  traceparent: string
  /**
   * Who calls: the id of the API key that the gateway let in, where it asks for keys. A function that can be reached past
   * its gateway must not believe it.
   */
  caller: string | undefined
  /** Adds to the response's metadata. Of a stream's, what is set before the handler returns its iterable. */
  setMetadata(name: string, value: string): void
  /** Adds what another server's answer brought, which was checked when it came. */
  forwardMetadata(metadata: Metadata): void
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
export function createServer(
  implementations: readonly Implementation[],
  interceptors?: readonly Interceptor[],
  clock: Clock = systemClock,
): Send {
  const services = new Map(implementations.map((one) => [one.contract.name, one]))
  return intercept((request) => dispatch(services, clock, request), interceptors)
}

/** Small, and what it calls is not asynchronous: whatever an async function holds is allocated anew for each of its calls. */
async function dispatch(
  services: ReadonlyMap<string, Implementation>,
  clock: Clock,
  request: RpcRequest,
): Promise<RpcResponse> {
  const call = new ServedCall(find(services, request), request, clock.now())
  let input = call.input()
  if (input instanceof Promise) input = await input
  let result = call.begin(input)
  if (call.target.method.kind === 'server_streaming') return call.stream(result as AsyncIterable<unknown>)
  if (result instanceof Promise) result = await result
  let output = call.output(result)
  if (output instanceof Promise) output = await output
  return call.answer(output)
}

/** One call on its way through its handler, which knows it as its context. */
class ServedCall implements Context {
  readonly target: { implementation: Implementation; method: Method }
  readonly signal: AbortSignal
  readonly timeoutMs: number
  readonly deadlineMs: number
  readonly metadata: Metadata
  readonly traceparent: string
  readonly #request: RpcRequest
  readonly #answered: Record<string, string> = {}

  constructor(target: { implementation: Implementation; method: Method }, request: RpcRequest, nowMs: number) {
    this.target = target
    this.signal = request.signal
    this.timeoutMs = request.timeoutMs
    this.deadlineMs = nowMs + request.timeoutMs
    this.metadata = request.metadata
    this.traceparent = request.traceparent
    this.#request = request
    const deprecation = target.method.deprecated ?? target.implementation.contract.deprecated
    if (deprecation) Object.assign(this.#answered, metadataOf(deprecation))
  }

  get caller(): string | undefined {
    return this.#request.caller
  }

  /** Made when asked for, and good by itself: handlers take it off their context. */
  get setMetadata() {
    return (name: string, value: string): void => {
      const problem = problemOf(name, value)
      if (problem) throw new RpcError('internal', `Cannot set the metadata of ${this.#label}: ${problem}`)
      this.#answered[name] = value
    }
  }

  get forwardMetadata() {
    return (metadata: Metadata): void => void Object.assign(this.#answered, metadata)
  }

  /** What came from this very process was checked by its types. */
  input(): unknown {
    const { payload } = this.#request
    const received = decodePayload(payload)
    if (payload.codec === 'value') return received
    return validate(this.target.method.input, received, `the input of ${this.#label}`, 'invalid_argument')
  }

  begin(input: unknown): unknown {
    return this.target.implementation.handlers[this.#request.method]?.(input as never, this)
  }

  output(result: unknown): unknown {
    if (this.#request.payload.codec === 'value') return result
    return validate(this.target.method.output, result, `the output of ${this.#label}`, 'internal')
  }

  answer(output: unknown): RpcResponse {
    const payload = encodeOutput(output, this.#request.payload.codec, this.#label)
    return { kind: 'unary', metadata: this.#answered, payload }
  }

  stream(items: AsyncIterable<unknown>): RpcResponse {
    const payloads = encodeEach(items, this.target.method, this.#label, this.#request.payload.codec)
    return { kind: 'stream', metadata: this.#answered, payloads }
  }

  get #label(): string {
    return `${this.#request.service}/${this.#request.method}`
  }
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
      `Cannot call ${request.service}/${request.method}: it is a ${method.kind} method, got a call for ${
        request.stream ? 'a stream' : 'one answer'
      }`,
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
