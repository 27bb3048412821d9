import { assert } from 'chai'
import { concat } from '../../../shared/base/bytes.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { CLOSE_CODES, closeCodeOf, closeReason } from '../../../shared/rpc/close_code.ts'
import { connectWebSocket, socketPeer } from '../../../shared/rpc/transports/websocket.ts'
import { encode } from '../../../shared/wire/codec.ts'
import { invalid } from '../../../shared/wire/errors.ts'
import { encodeFrame } from '../../../shared/wire/frame.ts'
import type { Suite } from '../../suite.ts'
import { assertIdle, countedSignal, echo, rejected, requestOf, settled, valueOf } from './harness.ts'
import { MemorySocket, socketPair } from './memory_socket.ts'

function opened(): [MemorySocket, MemorySocket] {
  const pair = socketPair()
  for (const socket of pair) socket.open()
  return pair
}

export const socketSuite: Suite = {
  name: 'sockets',
  cases: {
    'calls go over a socket, and closing it leaves nothing': async () => {
      const [near, far] = opened()
      const [client, server] = [socketPeer(near), socketPeer(far, { serve: echo })]
      assert.equal(near.binaryType, 'arraybuffer')
      const calls = Array.from({ length: 20 }, (_, n) => valueOf(client.peer.send(requestOf(n))))
      assert.deepEqual(await Promise.all(calls), [...calls.keys()])
      client.close(1000, 'done')
      assert.deepEqual(await server.closed, { code: 1000, reason: 'done' })
      assert.deepEqual(await client.closed, { code: 1000, reason: 'done' })
      assertIdle(client.peer, 'client')
      assertIdle(server.peer, 'server')
    },

    'pings are texts, and are answered': async () => {
      const [near, far] = opened()
      let pongs = 0
      const client = socketPeer(near, { onPong: () => pongs++ })
      socketPeer(far)
      client.ping()
      client.ping()
      await settled()
      assert.equal(pongs, 2)
      assert.deepEqual([near.sent, far.sent], [['ping', 'ping'], ['pong', 'pong']])
      near.close()
      client.ping()
      assert.equal(near.sent.length, 2)
    },

    'a lost socket fails what is in flight, with why': async () => {
      const [near, far] = opened()
      const client = socketPeer(near)
      const server = socketPeer(far, {
        serve: ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', reject)),
      })
      const { signal, listeners } = countedSignal()
      const call = rejected(
        client.peer.send(requestOf(1, { signal })),
        'unavailable',
        /the connection was lost \(1006 vanished\)/,
      )
      await settled()
      for (const socket of [near, far]) socket.end(1006, 'vanished')
      assert.isFalse((await call).neverSent)
      assert.equal(listeners(), 0)
      await settled()
      assertIdle(server.peer, 'server')
      assert.isTrue((await rejected(client.peer.send(requestOf(1)), 'unavailable')).neverSent)
    },

    'what breaks the protocol closes the socket with its code, and fails what it carried': async () => {
      const frame = encodeFrame({ type: 'cancel', id: 1, header: {}, parts: [] })[0] ?? new Uint8Array(0)
      // Why it is refused quotes a key that is too long for a close frame.
      const entry = encode({ ['é'.repeat(70)]: 1 }).subarray(1)
      const header = concat([Uint8Array.of(0x82), entry, entry])
      const twice = concat([frame.subarray(0, 8), Uint8Array.of(header.length % 256, header.length >> 8, 0, 0), header])
      const bad: [unknown, number][] = [
        [twice.buffer, 4002],
        ['hello', 4003],
        [new Uint8Array(0).buffer, 4002],
        [Uint8Array.of(1, 2, 3).buffer, 4002],
        [frame.with(2, 99).buffer, 4002],
        [new ArrayBuffer(LIMITS.maxFrameBytes + 1), 4009],
        [{}, 4002],
      ]
      for (const [data, code] of bad) {
        const [near, far] = opened()
        const client = socketPeer(near)
        const call = rejected(client.peer.send(requestOf(1)), 'unavailable', /the connection was given up/)
        near.deliver(data)
        await call
        // What comes after it is not read.
        near.deliver(data)
        assert.equal((await client.closed).code, code)
        assert.equal(far.readyState, 3)
        assertIdle(client.peer, 'client')
      }
    },

    'an owner’s failure closes the socket with 4011': async () => {
      const [near, far] = opened()
      const client = socketPeer(near, {
        onControl() {
          throw new Error('cannot act on it')
        },
      })
      socketPeer(far).peer.control('welcome', {})
      assert.equal((await client.closed).code, 4011)
    },

    'frames come as buffers or as views': async () => {
      const [near] = opened()
      const client = socketPeer(near)
      const answer = (message: unknown) =>
        encodeFrame({ type: 'response', id: message as number, header: { message }, parts: [] })[0]
      const calls = [1, 2, 3].map((n) => valueOf(client.peer.send(requestOf(n))))
      near.deliver(answer(1)?.slice().buffer)
      near.deliver(answer(2))
      const padded = new Uint8Array(200).subarray(3, 3 + (answer(3)?.length ?? 0))
      padded.set(answer(3) ?? [])
      near.deliver(padded)
      assert.deepEqual(await Promise.all(calls), [1, 2, 3])
    },

    'a reason is cut to what a close frame holds, in whole characters': () => {
      assert.equal(closeReason('x'.repeat(200)), 'x'.repeat(123))
      assert.equal(closeReason('é'.repeat(100)), 'é'.repeat(61))
      assert.equal(closeReason('🐟'.repeat(50)), '🐟'.repeat(30))
      assert.equal(closeReason('short'), 'short')
    },

    'each failure has its close code': () => {
      assert.equal(closeCodeOf(invalid('x'), new Uint8Array(4)), CLOSE_CODES.protocolError)
      assert.equal(closeCodeOf(invalid('x'), new Uint8Array(LIMITS.maxFrameBytes + 1)), CLOSE_CODES.messageTooBig)
      assert.equal(closeCodeOf(invalid('x'), 'text'), CLOSE_CODES.unsupportedData)
      assert.equal(closeCodeOf(new Error('x'), new Uint8Array(4)), CLOSE_CODES.internalError)
    },

    'a socket is called over once it is open': async () => {
      const [near, far] = socketPair()
      const clock = new FakeClock()
      let address = ''
      const open = (url: string) => {
        address = url
        return near
      }
      const connecting = connectWebSocket('ws://gateway/relay', open, clock)
      socketPeer(far, { serve: echo })
      for (const socket of [near, far]) socket.open()
      const transport = await connecting
      assert.equal(clock.pending, 0)
      assert.equal(address, 'ws://gateway/relay')
      assert.equal(await valueOf(transport.send(requestOf('hi'))), 'hi')
      const call = rejected(transport.send(requestOf(1)), 'unavailable', /the connection was closed/)
      transport.close()
      await call
      await settled()
    },

    'a socket that does not open is unavailable, and nothing was sent': async () => {
      for (
        const fail of [(s: MemorySocket) => s.dispatchEvent(new Event('error')), (s: MemorySocket) => s.end(1006, '')]
      ) {
        const [near] = socketPair()
        const clock = new FakeClock()
        const connecting = rejected(
          connectWebSocket('ws://gateway', () => near, clock),
          'unavailable',
          /Cannot connect to ws:\/\/gateway/,
        )
        fail(near)
        assert.isTrue((await connecting).neverSent)
        assert.equal(clock.pending, 0)
      }
      const [early] = socketPair()
      const error = await rejected(socketPeer(early).peer.send(requestOf(1)), 'unavailable', /the socket is closed/)
      assert.isTrue(error.neverSent)
    },

    'a socket that does not open in time is unavailable, and closed': async () => {
      const [near] = socketPair()
      const clock = new FakeClock()
      let over = false
      const connecting = rejected(
        connectWebSocket('ws://gateway', () => near, clock).finally(() => over = true),
        'unavailable',
        /Cannot connect to ws:\/\/gateway: the connection did not open within 5000 ms/,
      )
      await clock.advance(DEFAULTS.socketOpenMs - 1)
      assert.isFalse(over)
      await clock.advance(1)
      assert.isTrue((await connecting).neverSent)
      assert.equal(near.readyState, 3)
      assert.equal(clock.pending, 0)
    },
  },
}
