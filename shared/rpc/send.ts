import type { Codec, Payload } from '../wire/payload.ts'
import type { Metadata } from './metadata.ts'

export type { Metadata } from './metadata.ts'

/**
 * The one shape of calling: a client's transport, a server's dispatch, a router over many instances and an
 * interceptor around any of them are all a `Send`.
 */
export type Send = (request: RpcRequest) => Promise<RpcResponse>

/** Cross-cutting behaviour: wraps a Send in another. */
export type Interceptor = (next: Send) => Send

export interface RpcRequest {
  service: string
  method: string
  /** Semver range that the caller accepts; empty for any. */
  version: string
  group: string
  /** True for a server-streaming method. */
  stream: boolean
  idempotent: boolean
  /** Time left when this hop took the call over. */
  timeoutMs: number
  /** Aborts when the caller gives up or its time is over. */
  signal: AbortSignal
  /** W3C Trace Context. */
  traceparent: string
  metadata: Metadata
  payload: Payload
  /** Who calls, as whoever let the caller in says: the id of an API key. Absent where nobody does. */
  caller?: string
}

export type RpcResponse =
  | { kind: 'unary'; metadata: Metadata; payload: Payload }
  | { kind: 'stream'; metadata: Metadata; payloads: AsyncIterable<Payload> }

export type UnaryResponse = Extract<RpcResponse, { kind: 'unary' }>
export type StreamResponse = Extract<RpcResponse, { kind: 'stream' }>

/** A way to reach a server. `codec` is the form in which it carries messages best. */
export interface Transport {
  readonly send: Send
  readonly codec: Codec
  close(): void
}

/** Applies interceptors so that the first listed is the outermost. */
export function intercept(send: Send, interceptors: readonly Interceptor[] = []): Send {
  return interceptors.reduceRight((next, interceptor) => interceptor(next), send)
}
