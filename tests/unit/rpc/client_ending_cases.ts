import { assert } from 'chai'
import { FakeClock } from '../../../shared/base/clock.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import type { Send } from '../../../shared/rpc/send.ts'
import { memoryTransport } from '../../../shared/rpc/transports/memory.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { countedSignal, rejected, requestOf, settled, Sums } from './harness.ts'
import { catching, open, sums } from './client_bench.ts'

/** Deadlines, cancels and failures. */
export const endingCases: Suite['cases'] = {
  'a deadline spans the call, here': async () => {
    const never: Send = () => new Promise(() => {})
    const clock = new FakeClock()
    const client = clientOver(Sums, { transport: { send: never, codec: 'json', close() {} }, clock, timeoutMs: 200 })
    const [byClient, byCall] = [
      rejected(client.add({ a: 1 }), 'deadline_exceeded', /deadline of 200 ms passed/),
      rejected(client.add({ a: 1 }, { timeoutMs: 50 }), 'deadline_exceeded', /deadline of 50 ms passed/),
    ]
    await clock.advance(50)
    await byCall
    await clock.advance(150)
    await byClient
    assert.equal(clock.pending, 0)
  },

  'a deadline travels, and passes there too': async () => {
    const { server, seen } = sums({ add: () => new Promise(() => {}) })
    const opened = open(server)
    const call = rejected(opened.client.add({ a: 1 }, { timeoutMs: 70 }), 'deadline_exceeded')
    await settled()
    assert.equal(seen.contexts[0]?.timeoutMs, 70)
    await opened.clock.advance(70)
    await call
    assert.isTrue(seen.contexts[0]?.signal.aborted)
    assert.equal(opened.clock.pending, 0)
  },

  'a deadline that is none is refused, one too long is cut': async () => {
    const { client, requests } = catching()
    for (const timeoutMs of [0, -1, NaN, -Infinity]) {
      await rejected(client.add({ a: 1 }, { timeoutMs }), 'invalid_argument', /timeoutMs must be above 0/)
    }
    assert.isEmpty(requests)
    for (const timeoutMs of [Infinity, 1e12]) await client.add({ a: 1 }, { timeoutMs })
    for (const { timeoutMs } of requests) assert.closeTo(timeoutMs, 3_600_000, 1000)
  },

  'a cancelled call tells the handler': async () => {
    const { server, seen } = sums({
      add: (_, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    })
    using opened = open(server)
    const { signal, abort, listeners } = countedSignal()
    const call = rejected(opened.client.add({ a: 1 }, { signal }), 'canceled')
    await settled()
    abort()
    await call
    await settled()
    assert.isTrue(seen.contexts[0]?.signal.aborted)
    assert.equal(listeners(), 0)
    await rejected(opened.client.add({ a: 1 }, { signal: AbortSignal.abort() }), 'canceled')
  },

  'a handler that fails tells no secret': async () => {
    const { server } = sums({
      add() {
        throw new Error('password=secret')
      },
    })
    using opened = open(server)
    const error = await rejected(opened.client.add({ a: 1 }), 'internal', /the server failed unexpectedly/)
    assert.notInclude(JSON.stringify(error), 'secret')
  },

  'memory ends what is in flight when it is closed': async () => {
    const transport = memoryTransport(() => new Promise(() => {}))
    const call = rejected(transport.send(requestOf(1)), 'unavailable', /the connection was closed/)
    transport.close()
    await call
    await rejected(transport.send(requestOf(1)), 'unavailable')
  },

  'an RpcError of the handler arrives as it was thrown': async () => {
    const { server } = sums({
      add() {
        throw new RpcError('already_exists', 'Cannot add twice', { details: [{ id: 7 }] })
      },
    })
    using opened = open(server)
    const error = await rejected(opened.client.add({ a: 1 }), 'already_exists', /^Cannot add twice$/)
    assert.deepEqual(error.details, [{ id: 7 }])
  },
}
