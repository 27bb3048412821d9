import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { Peer } from '../../../shared/rpc/peer.ts'
import type { RpcRequest } from '../../../shared/rpc/send.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { type Frame, FrameReader } from '../../../shared/wire/frame.ts'
import { decodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { assertIdle, deliver, echo, pairOf, rejected, requestOf, settled, valueOf } from './harness.ts'

/** Errors of handlers, and messages that make no sense. */
export const errorCases: Suite['cases'] = {
  'errors arrive with their particulars': async () => {
    await using pair = pairOf(() =>
      Promise.reject(
        new RpcError('resource_exhausted', 'Cannot queue it', {
          details: [{ queued: 3, path: ['a'] }],
          retryAfterMs: 250,
          neverSent: true,
          cause: new Error('secret'),
        }),
      )
    )
    const error = await rejected(pair.client.send(requestOf(1)), 'resource_exhausted', /^Cannot queue it$/)
    assert.deepEqual(error.details, [{ queued: 3, path: ['a'] }])
    assert.equal(error.retryAfterMs, 250)
    assert.isTrue(error.neverSent)
    assert.notInclude(JSON.stringify(pair.answers.map((frame) => frame.header)), 'secret')
  },

  'errors too long, too odd or thrown as anything still answer their call alone': async () => {
    const thrown: unknown[] = [
      new RpcError('not_found', 'x'.repeat(1_000_000)),
      new RpcError('not_found', `half a pair \ud83d`),
      new RpcError('not_found', 'a', { details: [{ big: 'x'.repeat(200_000) }] }),
      new RpcError('not_found', 'b', { details: [{ n: 1n }, new Map(), Tensor.from('uint8', [1], [1])] }),
      new RpcError('not_found', 'c', { details: new Array(1000).fill({ message: 'm' }) }),
      new Error('password=secret'),
      undefined,
      'text',
    ]
    await using pair = pairOf((request) => Promise.reject(thrown[decodePayload(request.payload) as number]))
    const expected = [
      'not_found',
      'not_found',
      'not_found',
      'not_found',
      'not_found',
      'internal',
      'internal',
      'internal',
    ]
    const errors = await Promise.all(
      expected.map((code, n) => rejected(pair.client.send(requestOf(n)), code as 'internal')),
    )
    assert.equal(errors[0]?.message.length, LIMITS.maxErrorLength)
    assert.equal(errors[1]?.message, 'half a pair \ufffd')
    assert.equal(errors[4]?.details.length, LIMITS.maxErrorDetails)
    assert.notInclude(errors[5]?.message, 'secret')
  },

  'a handler that throws before it waits answers too': async () => {
    await using pair = pairOf(() => {
      throw new RpcError('aborted', 'Cannot start')
    })
    await rejected(pair.client.send(requestOf(1)), 'aborted', /^Cannot start$/)
  },

  'a side that serves nothing says so': async () => {
    await using pair = pairOf(echo)
    await rejected(pair.server.send(requestOf(1)), 'unimplemented', /this side serves none/)
  },

  'requests with bad fields are refused one by one': async () => {
    const answers: { code: string; message: string }[] = []
    const reader = new FrameReader()
    const server = new Peer({
      write: (message) => answers.push(reader.read(message)?.header.error as { code: string; message: string }),
      serve: echo,
    })
    const good = { service: 's', method: 'm', message: 1 }
    const bad: [Record<string, unknown>, RegExp][] = [
      [{ method: 'm' }, /service must be a text/],
      [{ ...good, service: 7 }, /service must be a text of at most 200 characters, got number/],
      [{ ...good, method: null }, /method must be a text/],
      [{ ...good, method: 'm'.repeat(201) }, /method must be a text of at most 200 characters, got 201/],
      [{ ...good, version: 1 }, /version must be a text/],
      [{ ...good, group: { toString: 1 } }, /group must be a text/],
      [{ ...good, timeoutMs: 0 }, /timeoutMs must be a number above 0, got 0/],
      [{ ...good, timeoutMs: -1 }, /timeoutMs/],
      [{ ...good, timeoutMs: NaN }, /timeoutMs/],
      [{ ...good, timeoutMs: '5' }, /timeoutMs must be a number above 0, got "5"/],
      [{ ...good, timeoutMs: { toString: 1 } }, /timeoutMs .*, got object/],
      [{ ...good, metadata: [] }, /metadata: it must map names to texts, got an array/],
      [{ ...good, metadata: { 'x-a': 1 } }, /"x-a" must be a text .*, got number/],
      [{ ...good, metadata: { 'x-a': 'a ' } }, /, got space there/],
      [
        { ...good, metadata: { 'x-a': 'a\r\nb' } },
        /"x-a" must be a text of printable ASCII without space at its ends, got U\+000D at 1/,
      ],
      [{ ...good, metadata: { authorization: 'a' } }, /must be lower case and begin with x-/],
      [{ ...good, metadata: { 'X-A': 'a' } }, /must be lower case/],
      [
        { ...good, codec: 'value' },
        /codec must be json or msgpack with one part, or tensors, got "value" with 0 parts/,
      ],
      [{ ...good, codec: 'json' }, /codec must be/],
      [{ ...good, codec: { toString: 1 } }, /codec must be/],
    ]
    for (const [header] of bad) deliver(server, { type: 'request', header })
    deliver(server, {
      type: 'request',
      header: { ...good, codec: 'json' },
      parts: [new Uint8Array(1), new Uint8Array(1)],
    })
    await settled()
    assert.equal(answers.length, bad.length + 1)
    for (const [i, { code, message }] of answers.entries()) {
      assert.equal(code, 'invalid_argument')
      assert.match(message, bad[i]?.[1] ?? /codec must be/)
    }
    assertIdle(server, 'server')
  },

  'what a request leaves out has its default': async () => {
    let got: RpcRequest | undefined
    const server = new Peer({
      write: () => {},
      serve: (request) => {
        got = request
        return echo(request)
      },
    })
    deliver(server, {
      type: 'request',
      header: { service: 's', method: 'm', timeoutMs: 1e12, traceparent: 'x'.repeat(500) },
    })
    await settled()
    const { signal: _, traceparent, ...fields } = got ?? requestOf(0)
    assert.deepEqual<unknown>(fields, {
      service: 's',
      method: 'm',
      version: '',
      group: 'default',
      stream: false,
      idempotent: false,
      timeoutMs: LIMITS.maxTimeoutMs,
      metadata: {},
      payload: { codec: 'tensors', structure: null, parts: [] },
    })
    assert.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    deliver(server, { type: 'request', header: { service: 's', method: 'm' } })
    assert.equal(got?.timeoutMs, 30_000)
    await settled()
    assertIdle(server, 'server')
  },

  'answers that make no sense fail their own call': async () => {
    const strange: [Omit<Frame, 'id'>, RegExp][] = [
      [{ type: 'response', header: { codec: 'bson' }, parts: [] }, /codec must be/],
      [{ type: 'response', header: { metadata: 'x' }, parts: [] }, /it must map names to texts/],
      [{ type: 'response', header: { stream: true }, parts: [] }, /expected one value, got a stream/],
      [{ type: 'chunk', header: { message: 1 }, parts: [] }, /a stream must begin with a response/],
      [{ type: 'end', header: {}, parts: [] }, /it ended before it began/],
    ]
    for (const [frame, message] of strange) {
      const told: string[] = []
      const reader = new FrameReader()
      const client = new Peer({ write: (bytes) => told.push(reader.read(bytes)?.type ?? '') })
      const other = client.send(requestOf('other'))
      const call = rejected(client.send(requestOf(1)), 'internal', message)
      deliver(client, { ...frame, id: 2 })
      await call
      assert.equal(client.inFlight, 1)
      deliver(client, { type: 'response', id: 1, header: { message: 'fine' } })
      assert.equal(await valueOf(other), 'fine')
      // The far side is told where it may still be at work.
      assert.deepEqual(told.slice(2), frame.type === 'end' ? [] : ['cancel'])
      assertIdle(client, 'client')
    }
  },

  'errors that make no sense are still errors': async () => {
    for (const error of [null, 1, 'x', [], {}, { code: 'nope', message: 7 }, { code: { toString: 1 } }]) {
      const client = new Peer({ write: () => {} })
      const call = rejected(client.send(requestOf(1)), 'unknown')
      deliver(client, { type: 'response', header: { error } })
      const { retryAfterMs, neverSent } = await call
      assert.deepEqual([retryAfterMs, neverSent], [undefined, false])
    }
    for (const retryAfterMs of [-1, NaN, '5', {}]) {
      const client = new Peer({ write: () => {} })
      const call = rejected(client.send(requestOf(1)), 'unavailable')
      deliver(client, { type: 'response', header: { error: { code: 'unavailable', message: 'm', retryAfterMs } } })
      assert.isUndefined((await call).retryAfterMs)
    }
  },

  'control frames go to the owner': async () => {
    const seen: unknown[] = []
    await using pair = pairOf(echo, { onControl: (frame) => seen.push([frame.type, frame.header]) })
    pair.server.control('welcome', { worker: 'w' })
    pair.server.control('goodbye', {})
    await settled()
    assert.deepEqual(seen, [['welcome', { worker: 'w' }], ['goodbye', {}]])
  },

  'a message that breaks the protocol is for the owner to act on': () => {
    const peer = new Peer({ write: () => {} })
    assertRefused(() => peer.receive(Uint8Array.of(1, 2, 3)), /^Cannot read the frame/)
    assertRefused(
      () => deliver(peer, { type: 'credit', header: { bytes: -1 } }),
      /credit must be a whole number of bytes above 0, got -1/,
    )
    assertRefused(() => deliver(peer, { type: 'credit', header: { bytes: { toString: 1 } } }), /credit must be/)
  },
}
