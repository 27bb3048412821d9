import { assert } from 'chai'
import { sleep } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { instances } from './instances.ts'
import { answer, codeOf, gone, request, RouterBench } from './router_bench.ts'

/** What is tried again, when and how often. */
export const retryCases: Suite['cases'] = {
  'only what is safe is tried again: unavailable, and idempotent or never sent': async () => {
    for (
      const code of [
        'unavailable',
        'internal',
        'invalid_argument',
        'resource_exhausted',
        'aborted',
        'unknown',
        'failed_precondition',
      ] as const
    ) {
      for (const idempotent of [true, false]) {
        for (const neverSent of [true, false]) {
          const bench = new RouterBench(instances(5))
          bench.serve = () => Promise.reject(new RpcError(code, 'Cannot', { neverSent }))
          assert.equal(codeOf(await bench.call({ idempotent })), code)
          const isElsewhere = code === 'failed_precondition' && neverSent
          const expected = isElsewhere || (code === 'unavailable' && (idempotent || neverSent)) ? 3 : 1
          assert.equal(bench.attempts.length, expected, `${code}, idempotent ${idempotent}, never sent ${neverSent}`)
          assert.equal(new Set(bench.ids).size, expected, 'each on another instance')
          bench.close()
        }
      }
    }
  },

  'an instance that lacks what a call needs is asked once, and counts as sound': async () => {
    const lacking = new RpcError('failed_precondition', 'Cannot run the model: it is too large', { neverSent: true })
    const bench = new RouterBench(instances(2))
    bench.serve = (id) => id === 'i0' ? Promise.reject(lacking) : Promise.resolve(answer(id))
    for (let i = 0; i < 20; i++) assert.notInstanceOf(await bench.call({ idempotent: false }), RpcError)
    assert.isAbove(bench.ids.filter((id) => id === 'i0').length, 5, 'it is not ejected')
    bench.close()
    const alone = new RouterBench(instances(1))
    alone.serve = () => Promise.reject(lacking)
    assert.equal(codeOf(await alone.call()), 'failed_precondition')
    assert.lengthOf(alone.attempts, 1)
    alone.close()
  },

  'what is not an RpcError is the instance’s failure, and not tried again': async () => {
    const bench = new RouterBench(instances(2))
    bench.serve = () => Promise.reject(new TypeError('boom'))
    assert.equal(codeOf(await bench.call()), 'internal')
    assert.equal(bench.attempts.length, 1)
  },

  'with a single instance it is tried again after a pause': async () => {
    const bench = new RouterBench(instances(1))
    bench.serve = (id) => bench.attempts.length < 3 ? Promise.reject(gone()) : Promise.resolve(answer(id))
    assert.equal(codeOf(await bench.call()), 'ok')
    assert.deepEqual(bench.ids, ['i0', 'i0', 'i0'])
  },

  'the pause is random, and bounded by 25 ms · 2ⁿ (seeded)': async () => {
    const pauses: [number, number][] = []
    for (let seed = 1; seed <= 20; seed++) {
      const bench = new RouterBench(instances(3), seed)
      bench.serve = () => Promise.reject(gone())
      await bench.call()
      const [a, b, c] = bench.attempts.map(({ atMs }) => atMs)
      pauses.push([(b ?? 0) - (a ?? 0), (c ?? 0) - (b ?? 0)])
    }
    for (const [first, second] of pauses) {
      assert.isTrue(first >= 0 && first <= DEFAULTS.retryBaseMs)
      assert.isTrue(second >= 0 && second <= 2 * DEFAULTS.retryBaseMs)
    }
    assert.isAbove(new Set(pauses.flat()).size, 35)
  },

  'an instance that asks for a pause gets it': async () => {
    const bench = new RouterBench(instances(2))
    bench.serve = (id) =>
      bench.attempts.length < 2 ? Promise.reject(gone({ retryAfterMs: 700 })) : Promise.resolve(answer(id))
    assert.equal(codeOf(await bench.call()), 'ok')
    const [first, second] = bench.attempts
    assert.equal((second?.atMs ?? 0) - (first?.atMs ?? 0), 700)
    bench.close()
  },

  'a pause that does not fit the deadline is not begun': async () => {
    const bench = new RouterBench(instances(2))
    bench.serve = () => Promise.reject(gone({ retryAfterMs: 2_000 }))
    const startedMs = bench.clock.now()
    const outcome = await bench.call({ timeoutMs: 2_000 })
    assert.equal(codeOf(outcome), 'unavailable')
    assert.equal((outcome as RpcError).retryAfterMs, 2_000)
    assert.isAtMost(bench.clock.now() - startedMs, 10)
    assert.equal(bench.attempts.length, 1)
    bench.close()
  },

  'time already spent counts, and each attempt is told what is left': async () => {
    const bench = new RouterBench(instances(3))
    bench.serve = async () => {
      await sleep(bench.clock, 400)
      throw gone({ retryAfterMs: 100 })
    }
    await bench.call({ timeoutMs: 1_050 })
    // 0 – 400, pause, 500 – 900, and a pause of 100 ms out of the 150 left; then 1000 – 1400.
    assert.deepEqual(bench.attempts.map(({ timeoutMs }) => timeoutMs), [1_050, 550, 50])
  },

  'a pause ends when the caller goes away': async () => {
    const bench = new RouterBench(instances(2))
    bench.serve = () => Promise.reject(gone({ retryAfterMs: 5_000 }))
    const caller = new AbortController()
    const call = bench.send({ ...request(), signal: caller.signal }).catch((error) => error)
    await bench.clock.advance(100)
    assert.equal(bench.clock.pending, 1)
    caller.abort()
    assert.equal((await call).code, 'canceled')
    assert.equal(bench.attempts.length, 1)
    bench.close()
  },

  'an attempt that ends because the caller went away ends as the caller wished': async () => {
    const bench = new RouterBench(instances(2))
    const caller = new AbortController()
    bench.serve = () => {
      caller.abort(new RpcError('deadline_exceeded', 'Cannot finish the call: time is up'))
      return Promise.reject(gone())
    }
    const outcome = await bench.call({ signal: caller.signal })
    assert.equal(codeOf(outcome), 'deadline_exceeded')
    assert.equal(bench.attempts.length, 1)
    assert.deepEqual(bench.unreachable, [])
  },

  'when everything fails, attempts stay within the budget, breaker or not': async () => {
    const bench = new RouterBench(instances(10), 1, { breaker: false })
    bench.serve = () => Promise.reject(gone())
    const calls = 400
    const startedMs = bench.clock.now()
    const open: Promise<unknown>[] = []
    for (let i = 0; i < calls; i++) {
      open.push(bench.send(request()).catch(() => {}))
      if (i % 20 === 19) await bench.clock.advance(50)
    }
    await bench.clock.advance(2_000)
    await Promise.all(open)
    const seconds = (bench.clock.now() - startedMs) / 1000
    assert.isAtMost(bench.attempts.length, 1.2 * calls + 10 * seconds + 10)
    assert.isAbove(bench.attempts.length, 1.1 * calls)
    bench.close()
  },

  'a refused connection is tried elsewhere without a price: no server has more calls for it (seeded)': async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const bench = new RouterBench(instances(2), seed, { outliers: false, breaker: false })
      bench.serve = async (id) => {
        if (id === 'i0') throw gone({ neverSent: true, unanswered: true })
        await sleep(bench.clock, 200)
        return answer(id)
      }
      // In one moment: they have earned 24 retries, and ten are free.
      const calls = Array.from({ length: 120 }, () => bench.send(request()).then(() => 'ok', codeOf))
      await bench.clock.advance(2_000)
      assert.deepEqual(new Set(await Promise.all(calls)), new Set(['ok']))
      const refused = bench.ids.filter((id) => id === 'i0').length
      // Else this shows nothing.
      assert.isAbove(refused, 24 + 10)
      // Each call arrives once, and no call makes more than three connections.
      assert.equal(bench.ids.length - refused, 120)
      assert.isAtMost(bench.ids.length, 3 * 120)
      bench.close()
    }
  },

  'a connection that broke may have carried the call, and one that answers has work of it: both pay': async () => {
    for (const options of [{ unanswered: true }, { neverSent: true }]) {
      const bench = new RouterBench(instances(2), 1, { outliers: false, breaker: false })
      bench.serve = () => Promise.reject(gone(options))
      const calls = Array.from({ length: 100 }, () => bench.send(request()).catch(codeOf))
      await bench.clock.advance(5_000)
      await Promise.all(calls)
      // A fifth of the calls, ten that are free at first, and ten for the second that passes at most.
      assert.isAtMost(bench.attempts.length, 100 + 20 + 20)
      bench.close()
    }
  },
}
