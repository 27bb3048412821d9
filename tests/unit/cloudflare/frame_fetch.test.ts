import { describe, expect, it } from 'vitest'
import { answerFrames, type Fetcher, fetchFrames } from '../../../functions/relay/frame_fetch.ts'
import { systemClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { type Log, silentLog } from '../../../shared/base/log.ts'
import { untilAborted } from '../../../shared/rpc/deadline.ts'
import type { RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { decodePayload, encodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { refusal } from '../../conformance/expectations.ts'

function request(value: unknown, options: Partial<RpcRequest> = {}): RpcRequest {
  return {
    service: 'shoal.Pool',
    method: 'run',
    version: '^1.0.0',
    group: 'default',
    stream: false,
    idempotent: true,
    timeoutMs: 5_000,
    signal: new AbortController().signal,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    metadata: { 'x-who': 'me' },
    payload: encodePayload(value, 'tensors'),
    ...options,
  }
}

/** Both ends, as a gateway and a Durable Object have them. What carries requests rejects as soon as they are aborted. */
function over(serve: Send, log: Log = silentLog): Send {
  return fetchFrames(() => ({
    fetch: (url, init) => {
      const request = new Request(url, init)
      return untilAborted(answerFrames(request, serve, { clock: systemClock, log }), request.signal)
    },
  }))
}

const failing = (thrown: unknown): Fetcher => ({ fetch: () => Promise.reject(thrown) })

describe('calls in frames over fetch', () => {
  it('carry everything that a call is made of', async () => {
    let served: RpcRequest | undefined
    const send = over(async (call): Promise<RpcResponse> => {
      served = call
      return { kind: 'unary', metadata: { 'shoal-worker': 'w_1' }, payload: call.payload }
    })
    const x = Tensor.from('float32', [2, 3], Float32Array.from([1, 2, 3, 4, 5, 6]))
    const sent = request({ inputs: { x } })
    const response = await send(sent)
    if (response.kind !== 'unary') throw new Error('expected one value')
    expect(response.metadata).toEqual({ 'shoal-worker': 'w_1' })
    expect(decodePayload(response.payload)).toEqual({ inputs: { x } })
    const { signal: _, payload: __, ...rest } = sent
    expect(served).toMatchObject(rest)
  })

  it('carry bodies larger than a frame of a socket', async () => {
    const send = over(async ({ payload }) => ({ kind: 'unary', metadata: {}, payload }))
    const x = Tensor.from('uint8', [3 * LIMITS.maxFrameBytes], new Uint8Array(3 * LIMITS.maxFrameBytes).fill(7))
    const response = await send(request({ x }))
    expect(response.kind === 'unary' && decodePayload(response.payload)).toEqual({ x })
  })

  it('end with the error of the far end, all of it', async () => {
    const thrown = new RpcError('resource_exhausted', 'Cannot queue the call: full', {
      retryAfterMs: 1234,
      neverSent: true,
      details: [{ queued: 7 }],
    })
    const error = await refusal(over(() => Promise.reject(thrown))(request({})))
    const { code, message, retryAfterMs, neverSent, details } = thrown
    expect(error).toMatchObject({ code, message, retryAfterMs, neverSent, details })
  })

  it('tell the log of a failure that is nobody’s intention, and the caller only that there was one', async () => {
    const lines: unknown[][] = []
    const send = over(() => Promise.reject(new TypeError('secret is undefined')), (...line) => lines.push(line))
    const error = await refusal(send(request({})))
    expect([error.code, error.message]).toEqual(['internal', expect.not.stringContaining('secret')])
    expect(lines).toEqual([['error', 'call failed', { cause: expect.stringContaining('secret is undefined') }]])
  })

  it('are cancelled at the far end when the caller gives up', async () => {
    const caller = new AbortController()
    const dropped = Promise.withResolvers<void>()
    const send = over(({ signal }) => {
      signal.addEventListener('abort', () => dropped.resolve())
      caller.abort(new RpcError('canceled', 'Cannot finish the call: enough'))
      return new Promise(() => {})
    })
    const error = await refusal(send(request({}, { signal: caller.signal })))
    expect([error.code, error.message]).toEqual(['canceled', 'Cannot finish the call: enough'])
    await dropped.promise
  })

  it('are over at the far end when their time is, whether the caller says so or not', async () => {
    const send = over(({ signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    )
    expect((await refusal(send(request({}, { timeoutMs: 20 })))).code).toBe('deadline_exceeded')
  })

  it('are not sent if they are streams or too large', async () => {
    const send = fetchFrames(() => failing(new Error('nothing was to be sent')))
    expect(await refusal(send(request({}, { stream: true })))).toMatchObject({ code: 'unimplemented', neverSent: true })
    const data = new Uint8Array(LIMITS.maxMessageBytes + 1)
    expect(await refusal(send(request({ x: Tensor.from('uint8', [data.length], data) }))))
      .toMatchObject({ code: 'resource_exhausted', neverSent: true })
  })

  it('fail as unavailable when the object cannot be reached, so that they are tried again where that is safe', async () => {
    const error = await refusal(fetchFrames(() => failing(new Error('Network connection lost.')))(request({})))
    expect(error).toMatchObject({ code: 'unavailable', neverSent: false })
    expect(error.message).toContain('Network connection lost.')
  })

  it('ask for patience when the object has too much to do', async () => {
    const overloaded = Object.assign(new Error('Durable Object is overloaded.'), { overloaded: true })
    expect(await refusal(fetchFrames(() => failing(overloaded))(request({}))))
      .toMatchObject({ code: 'resource_exhausted', neverSent: true, retryAfterMs: 1000 })
  })

  it('refuse what is no frame of theirs', async () => {
    const body = Uint8Array.of(1, 2, 3)
    const answer = await answerFrames(new Request('https://relay/', { method: 'POST', body }), () => {
      throw new Error('nothing was to be served')
    }, { clock: systemClock, log: silentLog })
    const send = fetchFrames(() => ({ fetch: async () => answer }))
    expect((await refusal(send(request({})))).code).toBe('invalid_argument')
    const echo = fetchFrames(() => ({ fetch: async (_, { body }) => new Response(body) }))
    expect((await refusal(echo(request({})))).message).toContain('one whole response was expected')
  })
})
