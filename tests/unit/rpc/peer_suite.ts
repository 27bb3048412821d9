import { assert } from 'chai'
import { toHex } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Peer } from '../../../shared/rpc/peer.ts'
import type { RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodeFrame, type Frame, FrameReader } from '../../../shared/wire/frame.ts'
import { decodePayload, encodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { compact, FRAMES } from '../wire/golden.ts'
import {
  assertIdle,
  countedSignal,
  deliver,
  echo,
  pairOf,
  rejected,
  requestOf,
  settled,
  unaryOf,
  valueOf,
} from './harness.ts'

export const peerSuite: Suite = {
  name: 'peer',
  cases: {
    'a request arrives as it was sent': async () => {
      let got: RpcRequest | undefined
      await using pair = pairOf((request) => {
        got = request
        return echo(request)
      })
      const change = { version: '^1.0.0', group: 'blue', idempotent: true, timeoutMs: 700, metadata: { 'x-a': 'b' } }
      const sent = requestOf({ x: 1 }, change)
      assert.deepEqual(await valueOf(pair.client.send(sent)), { x: 1 })
      const { signal: _, payload, ...fields } = got ?? sent
      const { signal: __, payload: ___, ...expected } = sent
      assert.deepEqual(fields, expected)
      assert.deepEqual(decodePayload(payload), { x: 1 })
    },

    'what is written is what the golden vectors say': () => {
      for (const name of ['request', 'request with everything']) {
        const vector = FRAMES.find((frame) => frame.name === name)
        if (!vector) throw new Error('expected a vector')
        const sent: string[] = []
        const client = new Peer({ write: (message) => sent.push(toHex(message)) })
        const { message: structure, ...fields } = vector.frame.header
        const payload = { codec: 'tensors' as const, structure, parts: vector.frame.parts }
        const change = { ...fields, payload } as Partial<RpcRequest>
        void client.send(requestOf(0, change)).catch(() => {})
        // All but the number, which is a peer's own.
        const expected = compact(vector.hex[0] ?? '')
        assert.equal(sent[0]?.replace(/^(.{8}).{8}/, '$1'), expected.replace(/^(.{8}).{8}/, '$1'), name)
        client.close(new RpcError('canceled', 'done'))
      }
    },

    'every codec passes, opaque bytes untouched': async () => {
      const seen: unknown[] = []
      await using pair = pairOf(async (request) => {
        seen.push(request.payload.codec)
        return { kind: 'unary', metadata: {}, payload: request.payload }
      })
      const x = Tensor.from('float32', [2], [1, 2])
      for (const codec of ['json', 'msgpack', 'tensors', 'value'] as const) {
        const answer = await valueOf(pair.client.send(requestOf(0, { payload: encodePayload({ x }, codec) }))) as {
          x: Tensor
        }
        assert.deepEqual([...answer.x.bytes], [...x.bytes])
      }
      // What never leaves a process is written as tensors when it does.
      assert.deepEqual(seen, ['json', 'msgpack', 'tensors', 'tensors'])
    },

    'a thousand calls answered in random order each get their own answer': async () => {
      const random = seededRandom(5)
      const waiting: (() => void)[] = []
      await using pair = pairOf((request) => new Promise((resolve) => waiting.push(() => resolve(echo(request)))))
      const calls = Array.from({ length: 1000 }, (_, n) => valueOf(pair.client.send(requestOf({ n }))))
      assert.equal(pair.client.inFlight, 1000)
      await settled()
      assert.equal(pair.server.serving, 1000)
      while (waiting.length > 0) waiting.splice(Math.floor(random() * waiting.length), 1)[0]?.()
      assert.deepEqual(await Promise.all(calls), calls.map((_, n) => ({ n })))
      assert.equal(pair.late, 0)
    },

    'both sides call each other at once, under the same numbers': async () => {
      const clientServes: Send = (request) => Promise.resolve(unaryOf({ client: decodePayload(request.payload) }))
      await using pair = pairOf(
        async (request) => {
          // Before it answers, the server asks back.
          const value = decodePayload(request.payload)
          return unaryOf({ server: value, back: await valueOf(pair.server.send(requestOf(value))) })
        },
        { serve: clientServes },
      )
      const calls = Array.from({ length: 50 }, (_, n) => valueOf(pair.client.send(requestOf(n))))
      const others = Array.from({ length: 50 }, (_, n) => valueOf(pair.server.send(requestOf(n + 100))))
      assert.deepEqual(await Promise.all(calls), calls.map((_, n) => ({ server: n, back: { client: n } })))
      assert.deepEqual(await Promise.all(others), others.map((_, n) => ({ client: n + 100 })))
    },

    'large tensors travel in fragments, many at once': async () => {
      await using pair = pairOf(echo)
      const sizes = [10, 3 * 2 ** 20, 700_000, 2 ** 20]
      const calls = sizes.map((size, n) => {
        const x = new Tensor('uint8', [size], new Uint8Array(size).fill(n + 1))
        return valueOf(pair.client.send(requestOf({ x }))) as Promise<{ x: Tensor<'uint8'> }>
      })
      for (const [n, { x }] of (await Promise.all(calls)).entries()) {
        assert.equal(x.bytes.byteLength, sizes[n])
        assert.isTrue(x.bytes.every((byte) => byte === n + 1))
      }
    },

    'a structure too long for a header travels in the body, both ways': async () => {
      await using pair = pairOf(echo)
      const rows = Array.from({ length: 5000 }, (_, id) => ({ id, name: `row number ${id}` }))
      const x = Tensor.from('int8', [1], [7])
      const answer = await valueOf(pair.client.send(requestOf({ rows, x }))) as { rows: unknown; x: Tensor<'int8'> }
      assert.deepEqual(answer.rows, rows)
      assert.deepEqual([...answer.x.data], [7])
      assert.deepEqual(pair.requests.map((frame) => frame.header.codec), ['msgpack'])
    },

    'what is too large fails alone and was never sent': async () => {
      await using pair = pairOf(echo)
      const other = valueOf(pair.client.send(requestOf('other')))
      const x = new Tensor('uint8', [LIMITS.maxMessageBytes + 1], new Uint8Array(LIMITS.maxMessageBytes + 1))
      const large = await rejected(pair.client.send(requestOf({ x })), 'resource_exhausted', /a body may have at most/)
      assert.isTrue(large.neverSent)
      const metadata = { 'x-long': 'x'.repeat(LIMITS.maxHeaderBytes) }
      const headed = await rejected(pair.client.send(requestOf(1, { metadata })), 'resource_exhausted', /a header may/)
      assert.isTrue(headed.neverSent)
      assert.equal(await other, 'other')
      assert.equal(pair.requests.length, 1)
    },

    'an answer that cannot be sent fails alone': async () => {
      const answers: Record<string, RpcResponse> = {
        large: unaryOf(new Tensor('uint8', [LIMITS.maxMessageBytes + 1], new Uint8Array(LIMITS.maxMessageBytes + 1))),
        odd: { kind: 'unary', metadata: {}, payload: { codec: 'tensors', structure: { a: 1n }, parts: [] } },
        deep: { kind: 'unary', metadata: {}, payload: { codec: 'tensors', structure: nested(40), parts: [] } },
        fine: unaryOf('fine'),
      }
      await using pair = pairOf(async (request) => {
        const name = decodePayload(request.payload) as string
        await settled()
        return answers[name] ?? unaryOf(null)
      })
      const call = (name: string) => pair.client.send(requestOf(name))
      const [fine] = [valueOf(call('fine'))]
      await Promise.all([
        rejected(call('large'), 'resource_exhausted', /a body may have at most/),
        rejected(call('odd'), 'internal', /Cannot encode/),
        rejected(call('deep'), 'internal', /Cannot encode/),
      ])
      assert.equal(await fine, 'fine')
      assert.equal(await valueOf(call('fine')), 'fine')
    },

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

    'a cancelled call reaches the signal of the far side': async () => {
      let reason: unknown
      await using pair = pairOf(({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            reason = signal.reason
            reject(new Error('stopped'))
          })
        )
      )
      const { signal, abort, listeners } = countedSignal()
      const call = rejected(pair.client.send(requestOf(1, { signal })), 'canceled', /the caller cancelled/)
      await settled()
      assert.equal(pair.server.serving, 1)
      abort()
      await call
      assert.equal(listeners(), 0)
      await settled()
      assert.equal((reason as RpcError).code, 'canceled')
      // Nobody waits for the answer of a cancelled call.
      assert.isEmpty(pair.answers)
      assert.equal(pair.late, 0)
    },

    'a call that was given up before it was sent is not sent': async () => {
      await using pair = pairOf(echo)
      await rejected(pair.client.send(requestOf(1, { signal: AbortSignal.abort() })), 'canceled')
      const timedOut = AbortSignal.abort(new DOMException('late', 'TimeoutError'))
      await rejected(pair.client.send(requestOf(1, { signal: timedOut })), 'deadline_exceeded')
      assert.isEmpty(pair.requests)
    },

    'a deadline that passes here is told there': async () => {
      let aborted = false
      await using pair = pairOf(({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            aborted = true
            reject(signal.reason)
          })
        )
      )
      const { signal, abort } = countedSignal()
      const call = rejected(pair.client.send(requestOf(1, { signal, timeoutMs: 60_000 })), 'deadline_exceeded')
      await settled()
      abort(new RpcError('deadline_exceeded', 'Cannot finish the call: its deadline of 5 ms passed'))
      await call
      await settled()
      assert.isTrue(aborted)
    },

    'a deadline that passes there is answered at once, whatever the handler does': async () => {
      let finish = () => {}
      await using pair = pairOf((request) => new Promise((resolve) => finish = () => resolve(echo(request))))
      const call = rejected(
        pair.client.send(requestOf(1, { timeoutMs: 50 })),
        'deadline_exceeded',
        /deadline of 50 ms passed/,
      )
      await settled()
      await pair.clock.advance(49)
      assert.equal(pair.client.inFlight, 1)
      await pair.clock.advance(1)
      await call
      // The handler still runs, and keeps its place: else a caller could start handlers without bound.
      assert.equal(pair.server.serving, 1)
      assert.equal(pair.clock.pending, 0)
      finish()
      await settled()
      assert.equal(pair.late, 0)
      assert.equal(pair.answers.length, 1)
    },

    'a late answer is dropped and counted': async () => {
      await using pair = pairOf(echo)
      const { signal, abort } = countedSignal()
      const call = rejected(pair.client.send(requestOf('first', { signal })), 'canceled')
      // The answer is on its way when the caller gives up.
      await new Promise((resolve) => setTimeout(resolve, 0))
      abort()
      await call
      await settled()
      assert.equal(pair.late, 1)
      assert.equal(await valueOf(pair.client.send(requestOf('second'))), 'second')
      for (const type of ['response', 'chunk', 'end'] as const) deliver(pair.client, { type, id: 77 })
      assert.equal(pair.late, 4)
    },

    'a call given up in the middle of a long answer lets go of it, and the socket lives': async () => {
      const late: string[] = []
      const client = new Peer({ write: () => {}, onLate: () => late.push('late') })
      const { signal, abort } = countedSignal()
      const call = rejected(client.send(requestOf(1, { signal })), 'canceled')
      const answer: Frame = { type: 'response', id: 1, header: { message: null }, parts: [new Uint8Array(1000)] }
      const [first, second, ...rest] = encodeFrame(answer, 128)
      if (!first || !second) throw new Error('expected several messages')
      client.receive(first)
      client.receive(second)
      assert.isAbove(client.heldBytes, 0)
      abort()
      await call
      assert.equal(client.heldBytes, 0)
      for (const message of rest) client.receive(message)
      assert.deepEqual(late, ['late'])
      assertIdle(client, 'client')
    },

    'a request cancelled before its last fragment is forgotten': () => {
      let served = 0
      const server = new Peer({ write: () => {}, serve: () => Promise.reject(new Error(`${served++}`)) })
      const frame: Frame = {
        type: 'request',
        id: 1,
        header: { service: 's', method: 'm' },
        parts: [new Uint8Array(1000)],
      }
      const [first] = encodeFrame(frame, 128)
      if (!first) throw new Error('expected a message')
      for (let i = 0; i < 100; i++) {
        server.receive(first)
        assert.isAbove(server.heldBytes, 0)
        deliver(server, { type: 'cancel', id: 1 })
        assert.equal(server.heldBytes, 0)
      }
      assert.equal(served, 0)
    },

    'a second request under a number in use is dropped and counted, and the first is answered': async () => {
      const started: unknown[] = []
      let finish = () => {}
      await using pair = pairOf((request) => {
        started.push(decodePayload(request.payload))
        return new Promise((resolve) => finish = () => resolve(echo(request)))
      })
      const call = valueOf(pair.client.send(requestOf('first')))
      await settled()
      const copy = pair.requests[0]
      if (!copy) throw new Error('expected a request')
      for (let i = 0; i < 3; i++) {
        deliver(pair.server, { type: 'request', id: copy.id, header: { ...copy.header, message: 'again' } })
      }
      await settled()
      assert.deepEqual(started, ['first'])
      assert.equal(pair.duplicates, 3)
      assert.isEmpty(pair.answers)
      finish()
      assert.equal(await call, 'first')
    },

    'a closed socket fails everything in flight with unavailable': async () => {
      const signals: AbortSignal[] = []
      await using pair = pairOf(({ signal }) => {
        signals.push(signal)
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      })
      const { signal, listeners } = countedSignal()
      const calls = Array.from(
        { length: 10 },
        (_, n) => rejected(pair.client.send(requestOf(n, { signal })), 'unavailable', /gone/),
      )
      await settled()
      const error = new RpcError('unavailable', 'Cannot finish the call: the socket is gone')
      pair.client.close(error)
      for (const { neverSent } of await Promise.all(calls)) assert.isFalse(neverSent, 'it may have been done')
      assert.equal(listeners(), 0)
      pair.server.close(error)
      assert.isTrue(signals.every(({ aborted }) => aborted))
      // Closing twice does nothing; calls after it were never sent.
      pair.client.close(new RpcError('internal', 'other'))
      const after = await rejected(pair.client.send(requestOf(1)), 'unavailable', /gone/)
      assert.isTrue(after.neverSent)
      // What still arrives is ignored, even what breaks the protocol.
      pair.client.receive(Uint8Array.of(1))
      deliver(pair.server, { type: 'request', header: { service: 's', method: 'm' } })
      assert.throws(() => pair.server.control('goodbye', {}), /gone/)
    },

    'a socket that fails on writing fails the call that was not sent': async () => {
      const client = new Peer({
        write() {
          throw new DOMException('closing', 'InvalidStateError')
        },
      })
      const error = await rejected(client.send(requestOf(1)), 'unavailable', /the connection failed/)
      assert.isTrue(error.neverSent)
      assertIdle(client, 'client')
    },

    'a socket that fails on answering ends what it carries': async () => {
      let aborted = false
      const server = new Peer({
        write() {
          throw new Error('gone')
        },
        serve: ({ method, signal }) =>
          method === 'wait'
            ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(aborted = true)))
            : echo(requestOf(1)),
      })
      deliver(server, { type: 'request', id: 1, header: { service: 's', method: 'wait' } })
      deliver(server, { type: 'request', id: 2, header: { service: 's', method: 'answer' } })
      await settled()
      assert.isTrue(aborted)
      assertIdle(server, 'server')
    },

    'numbers wrap around and pass over those in use': async () => {
      const held: (() => void)[] = []
      await using pair = pairOf(
        (request) =>
          decodePayload(request.payload) === 'hold'
            ? new Promise((resolve) => held.push(() => resolve(echo(request))))
            : echo(request),
        { lastId: 5 },
      )
      const call = (value: unknown) => valueOf(pair.client.send(requestOf(value)))
      assert.equal(await call('first'), 'first')
      const kept = [call('hold'), call('hold')]
      for (let n = 0; n < 7; n++) assert.equal(await call(n), n)
      const more = call('hold')
      for (let n = 0; n < 3; n++) assert.equal(await call(n), n)
      assert.deepEqual(pair.requests.map(({ id }) => id), [1, 2, 3, 4, 5, 1, 4, 5, 1, 4, 5, 1, 4, 1])
      for (const finish of held) finish()
      assert.deepEqual(await Promise.all([...kept, more]), ['hold', 'hold', 'hold'])
    },

    'calls on one socket are bounded, made and served': async () => {
      const client = new Peer({ write: () => {} })
      const { signal, abort } = countedSignal()
      const calls = Array.from(
        { length: LIMITS.maxCallsPerSocket },
        () => rejected(client.send(requestOf(1, { signal })), 'canceled'),
      )
      const refused = await rejected(
        client.send(requestOf(1)),
        'resource_exhausted',
        /at most 4096 calls may share a socket/,
      )
      assert.isTrue(refused.neverSent)
      abort()
      await Promise.all(calls)
      assertIdle(client, 'client')

      const answers: string[] = []
      const reader = new FrameReader()
      const server = new Peer({
        write: (message) => answers.push(JSON.stringify(reader.read(message)?.header)),
        serve: ({ signal }) =>
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      })
      for (let id = 1; id <= LIMITS.maxCallsPerSocket + 1; id++) {
        deliver(server, { type: 'request', id, header: { service: 's', method: 'm' } })
      }
      assert.equal(server.serving, LIMITS.maxCallsPerSocket)
      assert.equal(answers.length, 1)
      assert.include(answers[0], 'resource_exhausted')
      server.close(new RpcError('unavailable', 'done'))
      await settled()
      assertIdle(server, 'server')
    },

    'handlers that outlive their calls count until they end': async () => {
      const server = new Peer({ write: () => {}, serve: () => new Promise(() => {}) })
      for (let id = 1; id <= LIMITS.maxCallsPerSocket; id++) {
        deliver(server, { type: 'request', id, header: { service: 's', method: 'm' } })
        deliver(server, { type: 'cancel', id })
      }
      await settled()
      assert.equal(server.serving, LIMITS.maxCallsPerSocket)
      server.close(new RpcError('unavailable', 'done'))
    },

    'a link may agree on larger bodies and messages than a socket has, and refuses more than that': () => {
      const sizes = { maxFrameBytes: 4096, maxMessageBytes: 10_000 }
      const open = new Peer({ write: () => {}, ...sizes })
      const frame = (bytes: number) =>
        ({ type: 'request', header: { service: 's', method: 'm' }, parts: [new Uint8Array(bytes)] }) as const
      const send = (peer: Peer, bytes: number, maxFrame: number) => {
        for (const message of encodeFrame({ id: 1, ...frame(bytes) }, maxFrame, 1 << 20)) peer.receive(message)
      }
      send(open, 10_000, 4096)
      assert.throws(() => send(new Peer({ write: () => {}, ...sizes }), 10_008, 4096), RpcError, /at most 10000 bytes/)
      assert.throws(() => send(new Peer({ write: () => {}, ...sizes }), 5_000, 8192), RpcError, /at most 4096 bytes/)
      const most = LIMITS.maxMessageBytes
      assert.throws(() => encodeFrame({ id: 1, ...frame(most + 8) }), RpcError, /a body may have at most/)
      assert.isAbove(
        encodeFrame({ id: 1, ...frame(most + 8) }, LIMITS.maxFrameBytes, LIMITS.maxTrainingBytes).length,
        32,
      )
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
        [{ ...good, service: 7 }, /service must be a text/],
        [{ ...good, method: null }, /method must be a text/],
        [{ ...good, method: 'm'.repeat(201) }, /method must be a text of at most 200/],
        [{ ...good, version: 1 }, /version must be a text/],
        [{ ...good, group: { toString: 1 } }, /group must be a text/],
        [{ ...good, timeoutMs: 0 }, /timeoutMs must be a number above 0/],
        [{ ...good, timeoutMs: -1 }, /timeoutMs/],
        [{ ...good, timeoutMs: NaN }, /timeoutMs/],
        [{ ...good, timeoutMs: '5' }, /timeoutMs/],
        [{ ...good, timeoutMs: { toString: 1 } }, /timeoutMs/],
        [{ ...good, metadata: [] }, /metadata: it must map names to texts/],
        [{ ...good, metadata: { 'x-a': 1 } }, /"x-a" must be a text/],
        [{ ...good, metadata: { 'x-a': 'a\r\nb' } }, /"x-a" must be a text of printable ASCII/],
        [{ ...good, metadata: { authorization: 'a' } }, /must be lower case and begin with x-/],
        [{ ...good, metadata: { 'X-A': 'a' } }, /must be lower case/],
        [{ ...good, codec: 'value' }, /codec must be json or msgpack with one part, or tensors/],
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
      assertRefused(() => deliver(peer, { type: 'credit', header: { bytes: -1 } }), /credit must be/)
      assertRefused(() => deliver(peer, { type: 'credit', header: { bytes: { toString: 1 } } }), /credit must be/)
    },
  },
}

function nested(levels: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = [value]
  return value
}
