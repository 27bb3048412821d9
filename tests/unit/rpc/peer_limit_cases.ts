import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { Peer } from '../../../shared/rpc/peer.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodeFrame, FrameReader } from '../../../shared/wire/frame.ts'
import { decodePayload } from '../../../shared/wire/payload.ts'
import type { Suite } from '../../suite.ts'
import { assertIdle, countedSignal, deliver, echo, pairOf, rejected, requestOf, settled, valueOf } from './harness.ts'

/** Numbers of calls and sizes of messages on one socket. */
export const limitCases: Suite['cases'] = {
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
      serve: ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
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
}
