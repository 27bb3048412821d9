import { assert } from 'chai'
import { FakeClock } from '../../../shared/base/clock.ts'
import { bulkhead, type MethodLimit } from '../../../shared/rpc/bulkhead.ts'
import type { RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'
import type { Suite } from '../../suite.ts'
import { countedSignal, rejected, requestOf, settled, unaryOf } from './harness.ts'

/** A handler whose calls end when the test says so. */
function holding(limit: MethodLimit) {
  const clock = new FakeClock()
  const held: { value: unknown; end: (outcome?: RpcError | RpcResponse) => void }[] = []
  const handler: Send = (request) =>
    new Promise((resolve, reject) =>
      held.push({
        value: request.payload.codec === 'tensors' && request.payload.structure,
        end: (outcome = unaryOf('done')) => outcome instanceof RpcError ? reject(outcome) : resolve(outcome),
      })
    )
  const send = bulkhead({ echo: limit }, clock)(handler)
  return { clock, held, send }
}

export const bulkheadSuite: Suite = {
  name: 'bulkhead',
  cases: {
    'so many run, so many wait in order, the next is shed': async () => {
      const { send, held } = holding({ maxConcurrent: 2, maxQueued: 2 })
      const calls = [1, 2, 3, 4].map((n) => send(requestOf(n)))
      const error = await rejected(send(requestOf(5)), 'resource_exhausted', /2 calls run and 2 wait/)
      assert.deepEqual([error.neverSent, error.retryAfterMs], [true, 1000])
      assert.deepEqual(held.map(({ value }) => value), [1, 2])
      held[1]?.end()
      await settled()
      assert.deepEqual(held.map(({ value }) => value), [1, 2, 3])
      // A failed call gives its place up too.
      held[0]?.end(new RpcError('aborted', 'no'))
      await rejected(calls[0] as Promise<unknown>, 'aborted')
      await settled()
      assert.deepEqual(held.map(({ value }) => value), [1, 2, 3, 4])
      for (const one of held) one.end()
      await Promise.all(calls.slice(1))
      // All places are free again: exactly two.
      const more = [6, 7].map((n) => send(requestOf(n)))
      await settled()
      assert.equal(held.length, 6)
      for (const one of held) one.end()
      await Promise.all(more)
    },

    'methods do not take each other’s places, and those without a limit have none': async () => {
      const { send, held } = holding({ maxConcurrent: 1 })
      const calls = [send(requestOf(1)), ...[2, 3, 4].map((n) => send(requestOf(n, { method: 'other' })))]
      await rejected(send(requestOf(5)), 'resource_exhausted')
      await settled()
      assert.deepEqual(held.map(({ value }) => value), [1, 2, 3, 4])
      for (const one of held) one.end()
      await Promise.all(calls)
    },

    'a caller who gives up while waiting leaves the queue': async () => {
      const { send, held } = holding({ maxConcurrent: 1, maxQueued: 1 })
      const first = send(requestOf(1))
      const { signal, abort } = countedSignal()
      const waiting = rejected(send(requestOf(2, { signal })), 'canceled')
      await rejected(send(requestOf(3)), 'resource_exhausted')
      abort()
      await waiting
      const next = send(requestOf(4))
      held[0]?.end()
      await first
      await settled()
      assert.deepEqual(held.map(({ value }) => value), [1, 4])
      held[1]?.end()
      await next
    },

    'who could not be served in time is not made to wait, and pushback follows the pace': async () => {
      const { send, held, clock } = holding({ maxConcurrent: 1, maxQueued: 10 })
      const first = send(requestOf(0))
      await clock.advance(4000)
      held[0]?.end()
      await first
      // Now a call is known to hold the place for 4 s: the third of three has its turn after 8 s.
      const calls = [1, 2].map((n) => send(requestOf(n, { timeoutMs: 10_000 })))
      const error = await rejected(send(requestOf(3, { timeoutMs: 7000 })), 'resource_exhausted', /in 8000 ms/)
      assert.equal(error.retryAfterMs, 8000)
      for (const i of [1, 2]) {
        await settled()
        held[i]?.end()
      }
      await Promise.all(calls)
    },

    'a stream holds its place until it ends, is left, or its caller goes without reading': async () => {
      const { send, held } = holding({ maxConcurrent: 1 })
      const stream = async (change = {}) => {
        const answer = send(requestOf(0, { stream: true, ...change }))
        await settled()
        const payloads = (async function* () {
          for (let n = 0; n < 2; n++) yield encodePayload(n, 'tensors')
        })()
        held.at(-1)?.end({ kind: 'stream', metadata: {}, payloads })
        const response = await answer
        return response.kind === 'stream' ? response.payloads : assert.fail('expected a stream')
      }
      let seen = 0
      for await (const _ of await stream()) {
        seen++
        await rejected(send(requestOf(1)), 'resource_exhausted')
      }
      assert.equal(seen, 2)
      for await (const _ of await stream()) break
      const { signal, abort } = countedSignal()
      await stream({ signal })
      await rejected(send(requestOf(1)), 'resource_exhausted')
      abort()
      for await (const _ of await stream()) { /* the place was free */ }
    },

    'a limit that is none is refused': () => {
      for (const limit of [{ maxConcurrent: 0 }, { maxConcurrent: 1.5 }, { maxConcurrent: 1, maxQueued: -1 }]) {
        assert.throws(() => holding(limit), /maxConcurrent must be a whole number from 1/)
      }
    },
  },
}
