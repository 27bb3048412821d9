import { assert } from 'chai'
import * as z from 'zod'
import { owned } from '../../../shared/base/bytes.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { tensor } from '../../../shared/contracts/fields.ts'
import { defineService, serverStreaming, unary } from '../../../shared/rpc/contract.ts'
import { Peer, type PeerOptions } from '../../../shared/rpc/peer.ts'
import type { RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { newTrace } from '../../../shared/rpc/trace.ts'
import { type ErrorCode, RpcError } from '../../../shared/wire/errors.ts'
import { encodeFrame, type Frame, FrameReader, type ReceivedFrame } from '../../../shared/wire/frame.ts'
import { decodePayload, encodePayload } from '../../../shared/wire/payload.ts'

/** The service that the RPC suites call. */
export const Sums = defineService({
  name: 'test.Sums',
  version: '1.2.0',
  methods: {
    add: unary({
      input: z.object({ a: z.number(), b: z.number().default(0) }),
      output: z.object({ sum: z.number() }),
      idempotent: true,
    }),
    scale: unary({ input: z.object({ x: tensor, by: z.number() }), output: z.object({ y: tensor }) }),
    count: serverStreaming({ input: z.object({ to: z.number() }), output: z.object({ n: z.number() }) }),
  },
})

export interface PeerPair extends AsyncDisposable {
  client: Peer
  server: Peer
  clock: FakeClock
  /** Answers that came to the client after their call had ended. */
  late: number
  /** Requests that came to the server under a number in use. */
  duplicates: number
  /** Frames that went from the server to the client. */
  answers: ReceivedFrame[]
  /** Frames that went from the client to the server. */
  requests: ReceivedFrame[]
}

/**
 * Two peers on one wire that delivers in later macrotasks, in order. Disposing of them proves that nothing is left
 * over: no call, no timer, no half of a frame.
 */
export function pairOf(serve: Send, options: Partial<PeerOptions> = {}): PeerPair {
  const clock = new FakeClock()
  const [requests, answers]: [ReceivedFrame[], ReceivedFrame[]] = [[], []]
  const pair: PeerPair = {
    clock,
    requests,
    answers,
    late: 0,
    duplicates: 0,
    client: new Peer({ clock, write: wire(() => pair.server, requests), onLate: () => pair.late++, ...options }),
    server: new Peer({ clock, write: wire(() => pair.client, answers), onDuplicate: () => pair.duplicates++, serve }),
    async [Symbol.asyncDispose]() {
      await settled()
      assertIdle(pair.client, 'client')
      assertIdle(pair.server, 'server')
      assert.equal(clock.pending, 0, 'timers left over')
    },
  }
  return pair
}

function wire(to: () => Peer, log: ReceivedFrame[]): PeerOptions['write'] {
  const reader = new FrameReader()
  return (message) => {
    // As with a port, the message is gone for its sender.
    const moved = new Uint8Array(owned(message).buffer.transfer())
    const frame = reader.read(moved)
    if (frame) log.push(frame)
    setTimeout(() => to().receive(moved), 0)
  }
}

export function assertIdle(peer: Peer, what: string): void {
  assert.deepEqual(
    { inFlight: peer.inFlight, serving: peer.serving, heldBytes: peer.heldBytes },
    { inFlight: 0, serving: 0, heldBytes: 0 },
    `${what}: something is left over`,
  )
}

/** Lets everything that is on its way arrive and be handled. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise((resolve) => setTimeout(resolve, 0))
}

export function requestOf(value: unknown, change: Partial<RpcRequest> = {}): RpcRequest {
  return {
    service: 'test.Any',
    method: 'echo',
    version: '',
    group: 'default',
    stream: false,
    idempotent: false,
    timeoutMs: 1000,
    signal: new AbortController().signal,
    traceparent: newTrace(),
    metadata: {},
    payload: encodePayload(value, 'tensors'),
    ...change,
  }
}

export function unaryOf(value: unknown): RpcResponse {
  return { kind: 'unary', metadata: {}, payload: encodePayload(value, 'tensors') }
}

/** The value of a unary answer. */
export async function valueOf(response: Promise<RpcResponse>): Promise<unknown> {
  const answer = await response
  if (answer.kind !== 'unary') return assert.fail('expected one value')
  return decodePayload(answer.payload)
}

/** A Send that answers each request with its own value. */
export const echo: Send = (request) => Promise.resolve(unaryOf(decodePayload(request.payload)))

export async function rejected(promise: Promise<unknown>, code: ErrorCode, message = /./): Promise<RpcError> {
  const thrown = await promise.then(() => assert.fail(`expected ${code}`), (error: unknown) => error)
  if (!(thrown instanceof RpcError)) throw new Error('expected an RpcError', { cause: thrown })
  assert.equal(thrown.code, code, thrown.message)
  assert.match(thrown.message, message)
  return thrown
}

/** A frame's messages as a stranger might send them. */
export function deliver(peer: Peer, frame: Partial<Frame> & Pick<Frame, 'type'>, maxBytes?: number): void {
  for (const message of encodeFrame({ id: 1, header: {}, parts: [], ...frame }, maxBytes)) peer.receive(message)
}

/** A signal that counts its listeners: those left over after a call have leaked. */
export function countedSignal(): { signal: AbortSignal; listeners: () => number; abort: (reason?: unknown) => void } {
  const controller = new AbortController()
  const { signal } = controller
  const listeners = new Set<unknown>()
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)]
  Object.defineProperty(signal, 'addEventListener', {
    value(...args: Parameters<AbortSignal['addEventListener']>) {
      listeners.add(args[1])
      add(...args)
    },
  })
  Object.defineProperty(signal, 'removeEventListener', {
    value(...args: Parameters<AbortSignal['removeEventListener']>) {
      listeners.delete(args[1])
      remove(...args)
    },
  })
  return { signal, listeners: () => listeners.size, abort: (reason) => controller.abort(reason) }
}
