import { assert } from 'chai'
import { type Bytes, concat, decodeUtf8, encodeUtf8 } from '../../../shared/base/bytes.ts'
import { FakeClock, sleep, systemClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { END_OF_STREAM, openEnvelope, readEnvelopes, sealEnvelope } from '../../../shared/rpc/envelope.ts'
import { toResponse } from '../../../shared/rpc/http.ts'
import { answerHttp, type HttpServerOptions } from '../../../shared/rpc/http_server.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { fetchTransport } from '../../../shared/rpc/transports/fetch.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { countedSignal, rejected, requestOf, settled, Sums } from './harness.ts'

interface CountingOptions extends Partial<HttpServerOptions> {
  /** Before each number, by the same clock. */
  restMs?: number
}

/** A producer of numbers behind HTTP, and what became of it. */
function counting({ restMs = 0, ...options }: CountingOptions = {}) {
  const seen = { made: 0, stopped: 0, signal: undefined as AbortSignal | undefined, ends: [] as string[] }
  async function* numbers(to: number) {
    try {
      for (let n = 0; n < Math.abs(to); n++) {
        if (restMs > 0) await sleep(options.clock ?? systemClock, restMs)
        seen.made++
        yield { n }
      }
      if (to < 0) throw new RpcError('aborted', 'Cannot count further', { details: [{ at: to }], retryAfterMs: 7000 })
    } finally {
      seen.stopped++
    }
  }
  const server = createServer([
    implement(Sums, {
      add: ({ a, b }) => ({ sum: a + b }),
      scale: ({ x }) => ({ y: x }),
      count({ to }, { signal, setMetadata }) {
        seen.signal = signal
        setMetadata('x-counts', 'yes')
        return numbers(to)
      },
    }),
  ])
  const fetch = async (request: Request): Promise<Response> => {
    const [, , service = '', method = ''] = new URL(request.url).pathname.split('/')
    const answer = await answerHttp(server, request, service, method, {
      clock: systemClock,
      onAnswer: (code) => seen.ends.push(code),
      ...options,
    })
    return toResponse(answer)
  }
  const client = (codec: 'json' | 'msgpack' = 'msgpack') =>
    clientOver(Sums, { transport: fetchTransport('http://function', { fetch, codec }) })
  const post = (body: BodyInit, headers: Record<string, string>, signal?: AbortSignal) =>
    fetch(new Request('http://function/rpc/test.Sums/count', { method: 'POST', body, headers, signal }))
  return { seen, fetch, client, post }
}

const EVENTS = { 'content-type': 'application/json', accept: 'text/event-stream' }

export const httpStreamSuite: Suite = {
  name: 'streams over HTTP',
  cases: {
    'items come in order and end, in both codecs': async () => {
      for (const codec of ['json', 'msgpack'] as const) {
        const { seen, client } = counting()
        let counts = ''
        const items: number[] = []
        const stream = client(codec).count({ to: 500 }, { onMetadata: (got) => counts = got['x-counts'] ?? '' })
        for await (const { n } of stream) items.push(n)
        assert.deepEqual(items, [...Array(500).keys()])
        assert.deepEqual([counts, seen.ends, seen.stopped], ['yes', ['ok'], 1])
      }
    },

    'an error in the middle comes after what was sent before it, whole': async () => {
      const { seen, client } = counting()
      const items: number[] = []
      const reading = (async () => {
        for await (const { n } of client().count({ to: -3 })) items.push(n)
      })()
      const error = await rejected(reading, 'aborted', /^Cannot count further$/)
      assert.deepEqual(items, [0, 1, 2])
      assert.deepEqual([error.details, error.retryAfterMs, error.neverSent], [[{ at: -3 }], 7000, false])
      assert.deepEqual(seen.ends, ['aborted'])
    },

    'a call that is refused fails before its stream begins': async () => {
      const { fetch } = counting()
      const { send } = fetchTransport('http://function', { fetch })
      const bad = requestOf({ to: 'x' }, { service: 'test.Sums', method: 'count', stream: true })
      await rejected(send(bad), 'invalid_argument', /the input of test.Sums\/count: at "to"/)
      const old = { ...bad, version: '^9.0.0' }
      assert.isTrue((await rejected(send(old), 'failed_precondition')).neverSent)
      await rejected(
        send({ ...bad, method: 'add' }),
        'invalid_argument',
        /it is a unary method, got a call for a stream/,
      )
      await rejected(
        send({ ...bad, stream: false }),
        'invalid_argument',
        /it is a server_streaming method, got a call for one answer/,
      )
    },

    'a producer is asked for an item when the last one was taken': async () => {
      const { seen, post } = counting()
      const { body } = await post('{"to":100000}', EVENTS)
      const reader = body?.getReader()
      await settled()
      assert.isAtMost(seen.made, 1)
      for (let i = 0; i < 10; i++) await reader?.read()
      await settled()
      assert.isAtMost(seen.made, 11)
      await reader?.cancel()
      await settled()
      assert.deepEqual([seen.stopped, seen.ends, seen.signal?.aborted], [1, ['canceled'], true])
    },

    'a reader that stops early stops the producer': async () => {
      const { seen, client } = counting()
      let read = 0
      for await (const _ of client().count({ to: 1e9 })) if (++read === 5) break
      await settled()
      assert.deepEqual([seen.stopped, seen.ends], [1, ['canceled']])
      assert.isBelow(seen.made, 100)
    },

    'a caller that aborts hears of it, and so does the producer': async () => {
      const { seen, client } = counting()
      const { signal, abort, listeners } = countedSignal()
      let read = 0
      const reading = (async () => {
        for await (const _ of client().count({ to: 1e9 }, { signal })) if (++read === 5) abort()
      })()
      await rejected(reading, 'canceled')
      await settled()
      assert.deepEqual([seen.stopped, seen.signal?.aborted, listeners()], [1, true, 0])
    },

    'a deadline ends a stream that is being read, and one that nobody reads': async () => {
      for (const isRead of [true, false]) {
        const clock = new FakeClock()
        const { seen, post } = counting({ clock })
        const { body } = await post('{"to":1e9}', { ...EVENTS, 'connect-timeout-ms': '100' })
        const reader = body?.getReader()
        if (isRead) await reader?.read()
        await clock.advance(100)
        assert.deepEqual([seen.ends, seen.signal?.aborted, clock.pending], [['deadline_exceeded'], true, 0])
        const { value } = await reader?.read() ?? {}
        assert.match(decodeUtf8(value ?? new Uint8Array()), /^event: error\ndata: {"code":"deadline_exceeded"/)
        assert.isTrue((await reader?.read())?.done)
      }
    },

    'a caller of server-sent events needs nothing but curl': async () => {
      const { post } = counting()
      const response = await post('{"to":2}', EVENTS)
      assert.equal(response.headers.get('content-type'), 'text/event-stream')
      assert.equal(await response.text(), 'data: {"n":0}\n\ndata: {"n":1}\n\nevent: end\ndata: {}\n\n')
      const failing = await (await post('{"to":-1}', EVENTS)).text()
      assert.match(failing, /^data: {"n":0}\n\nevent: error\ndata: {"code":"aborted","message":"Cannot count further"/)
      // Before the first event HTTP itself can say what is wrong.
      const refused = await post('{"to":"x"}', EVENTS)
      assert.deepEqual([refused.status, (await refused.json()).code], [400, 'invalid_argument'])
    },

    'comments keep the line of server-sent events alive while an item takes long': async () => {
      const clock = new FakeClock()
      const { seen, post } = counting({ clock, restMs: 25_000 })
      const { body } = await post('{"to":1}', EVENTS)
      const read = body ? new Response(body).text() : Promise.resolve('')
      for (let restedMs = 0; restedMs < 25_000; restedMs += 5_000) await clock.advance(5_000)
      assert.equal(await read, ':\n\n:\n\ndata: {"n":0}\n\nevent: end\ndata: {}\n\n')
      assert.deepEqual([seen.ends, clock.pending], [['ok'], 0])
      // Nor do they gather for a reader who takes none, or stay when one leaves.
      const unread = (await post('{"to":1}', EVENTS)).body?.getReader()
      const first = unread?.read()
      await clock.advance(24_000)
      assert.equal(decodeUtf8((await first)?.value ?? new Uint8Array()), ':\n\n')
      await unread?.cancel()
      await clock.advance(1_000)
      assert.deepEqual([seen.ends, clock.pending], [['ok', 'canceled'], 0])
    },

    'answers are as Connect has them': async () => {
      const { post } = counting()
      const body = sealEnvelope({ flags: 0, data: encodeUtf8('{"to":1}') })
      const response = await post(body, { 'content-type': 'application/connect+json' })
      assert.deepEqual([response.status, response.headers.get('content-type')], [200, 'application/connect+json'])
      const envelopes = []
      for await (const { flags, data } of readEnvelopes(response.body as ReadableStream<Uint8Array>, 1000)) {
        envelopes.push([flags, decodeUtf8(data)])
      }
      assert.deepEqual(envelopes, [[0, '{"n":0}'], [END_OF_STREAM, '{}']])
      // Connect's streams have status 200 even where they are refused.
      const refused = await post(sealEnvelope({ flags: 0, data: encodeUtf8('{}') }), {
        'content-type': 'application/connect+json',
      })
      assert.equal(refused.status, 200)
      const end = new Uint8Array(await refused.arrayBuffer())
      assert.equal(end[0], END_OF_STREAM)
      assert.equal(JSON.parse(decodeUtf8(end.subarray(5))).error.code, 'invalid_argument')
    },

    'envelopes are cut right wherever the network cuts them': async () => {
      const messages = [0, 1, 3, 300, 0].map((length) => new Uint8Array(length).fill(length))
      const whole = concat(messages.map((data) => sealEnvelope({ flags: 0, data })))
      for (const size of [1, 2, 3, 5, 7, 100, whole.length]) {
        const got: Bytes[] = []
        for await (const { data } of readEnvelopes(inParts(whole, size), 300)) got.push(data)
        assert.deepEqual(got, messages)
      }
    },

    'a stream that breaks off, declares too much or is packed is refused': async () => {
      const sealed = sealEnvelope({ flags: 0, data: new Uint8Array(10) })
      for (const length of [1, 4, 5, 14]) {
        await rejected(drain(readEnvelopes(inParts(sealed.slice(0, length), 3), 100)), 'data_loss')
      }
      // Four gigabytes are declared; nothing of the sort is allocated, and the stream is let go of.
      let cancelled = false
      const bomb = new ReadableStream<Uint8Array>({
        pull: (controller) => controller.enqueue(Uint8Array.of(0, 255, 255, 255, 255)),
        cancel: () => void (cancelled = true),
      })
      await rejected(drain(readEnvelopes(bomb, LIMITS.maxMessageBytes)), 'resource_exhausted', /at most 33554432 bytes/)
      assert.isTrue(cancelled)
      for (const bad of [sealed.slice(0, 14), concat([sealed, sealed]), sealEnvelope({ flags: 1, data: sealed })]) {
        assert.throws(() => openEnvelope(bad), /one message in Connect's envelope/)
      }
      assert.deepEqual(openEnvelope(sealed), new Uint8Array(10))
    },

    'an answer that is no stream, or has no end, is the server’s fault': async () => {
      const answer = (response: Response) => {
        const { send } = fetchTransport('http://function', { fetch: () => Promise.resolve(response) })
        return (async () => {
          const answered = await send(requestOf({}, { stream: true }))
          if (answered.kind === 'stream') await drain(answered.payloads)
        })()
      }
      const streamed = (body: Bytes) => new Response(body, { headers: { 'content-type': 'application/connect+json' } })
      await rejected(answer(new Response('{}')), 'unknown', /content-type must be application\/connect/)
      await rejected(answer(new Response('no', { status: 503 })), 'unavailable')
      await rejected(answer(new Response(null, { status: 302 })), 'unavailable', /redirect/)
      const item = sealEnvelope({ flags: 0, data: encodeUtf8('1') })
      await rejected(answer(streamed(item)), 'unavailable', /lost before its end/)
      await rejected(answer(streamed(sealEnvelope({ flags: 1, data: item }))), 'internal', /must not be packed/)
      await rejected(answer(streamed(sealEnvelope({ flags: 2, data: item }))), 'internal', /its end must be JSON/)
      await rejected(answer(streamed(sealEnvelope({ flags: 2, data: encodeUtf8('{"error":{}}') }))), 'unknown')
    },
  },
}

function inParts(bytes: Bytes, size: number): ReadableStream<Uint8Array> {
  let offset = 0
  return new ReadableStream({
    pull(controller) {
      if (offset >= bytes.length) return controller.close()
      controller.enqueue(bytes.subarray(offset, offset += size))
    },
  })
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items) { /* read on */ }
}
