import { assert } from 'chai'
import { FakeClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { abortError, Deadline, listen, unlisten, untilAborted } from '../../../shared/rpc/deadline.ts'
import { continueTrace, newTrace } from '../../../shared/rpc/trace.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { countedSignal, rejected } from './harness.ts'

export const deadlineSuite: Suite = {
  name: 'deadlines',
  cases: {
    'the signal aborts when the time is over, and not before': async () => {
      const clock = new FakeClock()
      using deadline = new Deadline(clock, 100)
      await clock.advance(99)
      assert.isFalse(deadline.signal.aborted)
      assert.equal(deadline.remainingMs, 1)
      await clock.advance(1)
      assert.equal((deadline.signal.reason as RpcError).code, 'deadline_exceeded')
      assert.match((deadline.signal.reason as RpcError).message, /its deadline of 100 ms passed/)
      await clock.advance(50)
      assert.equal(deadline.remainingMs, 0)
    },

    'one whose timer starts later ends at the same time, and needs none once it is over': async () => {
      const clock = new FakeClock()
      const begun = new Deadline(clock, 100, undefined, 'later')
      assert.equal(clock.pending, 0)
      await clock.advance(60)
      begun.start()
      begun.start()
      assert.equal(clock.pending, 1)
      await clock.advance(39)
      assert.isFalse(begun.signal.aborted)
      await clock.advance(1)
      assert.match((begun.signal.reason as RpcError).message, /its deadline of 100 ms passed/)
      for (const end of ['cancel', 'dispose']) {
        const over = new Deadline(clock, 100, undefined, 'later')
        if (end === 'cancel') over.cancel(abortError('x'))
        else over[Symbol.dispose]()
        over.start()
        assert.equal(clock.pending, 0)
      }
    },

    'disposing of it leaves neither timer nor listener': () => {
      const clock = new FakeClock()
      const { signal, listeners, abort } = countedSignal()
      const deadline = new Deadline(clock, 100, signal)
      assert.deepEqual([clock.pending, listeners()], [1, 1])
      deadline[Symbol.dispose]()
      assert.deepEqual([clock.pending, listeners()], [0, 0])
      abort()
      assert.isFalse(deadline.signal.aborted)
    },

    'cancelling leaves neither, and the first reason stands': async () => {
      const clock = new FakeClock()
      const { signal, listeners } = countedSignal()
      const deadline = new Deadline(clock, 100, signal)
      deadline.cancel(new RpcError('canceled', 'first'))
      assert.deepEqual([clock.pending, listeners()], [0, 0])
      deadline.cancel(new RpcError('canceled', 'second'))
      await clock.advance(1000)
      assert.equal((deadline.signal.reason as RpcError).message, 'first')
    },

    'a parent’s abort is passed on, with its reason as an RpcError': () => {
      const reasons: [unknown, string][] = [
        [new RpcError('unavailable', 'x'), 'unavailable'],
        [new DOMException('x', 'TimeoutError'), 'deadline_exceeded'],
        [new DOMException('x', 'AbortError'), 'canceled'],
        [new Error('x'), 'canceled'],
        ['x', 'canceled'],
        [undefined, 'canceled'],
      ]
      for (const [reason, code] of reasons) {
        const clock = new FakeClock()
        const controller = new AbortController()
        const deadline = new Deadline(clock, 100, controller.signal)
        controller.abort(reason)
        assert.equal((deadline.signal.reason as RpcError).code, code)
        assert.equal(clock.pending, 0)
        const born = new Deadline(clock, 100, AbortSignal.abort(reason))
        assert.equal((born.signal.reason as RpcError).code, code)
        assert.equal(clock.pending, 0)
        assert.equal(abortError(reason).code, code)
      }
    },

    'times are above 0 and cut to an hour': () => {
      const clock = new FakeClock()
      for (const timeoutMs of [0, -1, NaN]) {
        assertRefused(() => new Deadline(clock, timeoutMs), /timeoutMs must be above 0/)
      }
      assert.equal(clock.pending, 0)
      for (const timeoutMs of [Infinity, 2 ** 40]) {
        using deadline = new Deadline(clock, timeoutMs)
        assert.equal(deadline.remainingMs, LIMITS.maxTimeoutMs)
      }
    },

    'who listens to a signal hears of its end once, whoever made it, and not after having stopped': () => {
      const { signal, listeners, abort } = countedSignal()
      const clock = new FakeClock()
      using deadline = new Deadline(clock, 100)
      for (const [one, end] of [[signal, abort], [deadline.signal, () => deadline.cancel(abortError('x'))]] as const) {
        const heard: string[] = []
        const stopped = () => heard.push('stopped')
        listen(one, stopped)
        listen(one, () => heard.push(`aborted: ${one.aborted}`))
        unlisten(one, stopped)
        unlisten(one, stopped)
        end()
        end()
        assert.deepEqual(heard, ['aborted: true'])
      }
      assert.equal(listeners(), 1)
    },

    'a deadline ends those under it, and what users listen to': () => {
      const clock = new FakeClock()
      const outer = new Deadline(clock, 100)
      using inner = new Deadline(clock, 100, outer.signal)
      const both = AbortSignal.any([inner.signal])
      const released = new Deadline(clock, 100, outer.signal)
      released[Symbol.dispose]()
      outer.cancel(new RpcError('aborted', 'x'))
      for (const signal of [inner.signal, both]) assert.equal((signal.reason as RpcError).code, 'aborted')
      assert.isFalse(released.signal.aborted)
      assert.equal(clock.pending, 0)
    },

    'waiting ends with the work or with the signal, whichever comes first': async () => {
      const { signal, listeners, abort } = countedSignal()
      assert.equal(await untilAborted(Promise.resolve(7), signal), 7)
      await rejected(untilAborted(Promise.reject(new RpcError('aborted', 'x')), signal), 'aborted')
      await Promise.resolve()
      assert.equal(listeners(), 0)
      let finish = () => {}
      const waiting = rejected(untilAborted(new Promise<void>((resolve) => finish = resolve), signal), 'canceled')
      abort()
      await waiting
      finish()
      // What fails after nobody waits for it is nobody's failure.
      await rejected(untilAborted(Promise.reject(new Error('late')), signal), 'canceled')
    },

    'a valid trace goes on, any other begins anew': () => {
      const valid = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
      assert.equal(continueTrace(valid), valid)
      const zeros = [
        `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
        `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01`,
      ]
      const wrong = [
        '',
        'x',
        valid.toUpperCase(),
        `${valid}-x`,
        valid.replace('00-', 'ff-'),
        valid.slice(1),
        null,
        undefined,
      ]
      for (const trace of [...zeros, ...wrong]) {
        assert.match(continueTrace(trace), /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
        assert.notEqual(continueTrace(trace), trace)
      }
      const traces = new Set(Array.from({ length: 1000 }, newTrace))
      assert.equal(traces.size, 1000)
      for (const trace of traces) assert.equal(continueTrace(trace), trace)
    },
  },
}
