import { assert } from 'chai'
import { Peer } from '../../../shared/rpc/peer.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodeFrame, type Frame } from '../../../shared/wire/frame.ts'
import { decodePayload } from '../../../shared/wire/payload.ts'
import type { Suite } from '../../suite.ts'
import { assertIdle, countedSignal, deliver, echo, pairOf, rejected, requestOf, settled, valueOf } from './harness.ts'

/** Calls that end before their answer: cancelled, out of time, or with their socket. */
export const endingCases: Suite['cases'] = {
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
}
