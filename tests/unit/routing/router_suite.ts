import { assert } from 'chai'
import { sleep } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { createRouter } from '../../../shared/routing/call.ts'
import type { RpcRequest, RpcResponse } from '../../../shared/rpc/send.ts'
import type { LeasedInstance } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'
import { answer, codeOf, gone, request, RouterBench } from './router_bench.ts'
import { VirtualTime } from '../virtual_time.ts'

export const routerSuite: Suite = {
  name: 'routing: router',
  cases: {
    'an answer tells how many attempts it took, beside its own metadata': async () => {
      const bench = new RouterBench(instances(3))
      const first = await bench.call() as RpcResponse
      assert.deepEqual(first.metadata, { from: bench.ids[0] ?? '', 'shoal-attempts': '1' })
      let failures = 2
      bench.serve = (id) => failures-- > 0 ? Promise.reject(gone()) : Promise.resolve(answer(id))
      const third = await bench.call() as RpcResponse
      assert.equal(third.metadata['shoal-attempts'], '3')
      bench.close()
    },

    'streams are spread while they last, and forgotten when they end, are left, or lose their caller': async () => {
      const bench = new RouterBench(instances(2))
      bench.serve = () => {
        const payloads = (async function* () {
          for (let n = 0; n < 3; n++) yield encodePayload(n, 'tensors')
        })()
        return Promise.resolve({ kind: 'stream', metadata: {}, payloads })
      }
      const gone = new AbortController()
      const open = async () => {
        const before = bench.ids.length
        const streams: AsyncIterable<unknown>[] = []
        for (let i = 0; i < 10; i++) {
          const response = await bench.call({ stream: true, signal: gone.signal }) as RpcResponse
          if (response.kind === 'stream') streams.push(response.payloads)
        }
        const counts = bench.ids.slice(before).reduce((sum, id) => sum + (id === 'i0' ? 1 : -1), 0)
        // Each goes where fewer are. (From twenty on, one more or less is within the picker's noise.)
        assert.isAtMost(Math.abs(counts), 1)
        return streams
      }
      const [first = [], second = []] = [await open(), await open()]
      for (const [i, stream] of [...first, ...second].entries()) {
        if (i % 3 === 0) { for await (const _ of stream) { /* to its end */ } }
        if (i % 3 === 1) { for await (const _ of stream) break }
      }
      gone.abort()
      bench.close()
    },

    'calls stay near, and elsewhere who tries again goes first: a zone that dies as a whole fails none': async () => {
      const bench = new RouterBench(instances(8))
      const isNear = ({ id }: { id: string }) => Number(id.slice(1)) < 5
      const near = new Map<unknown, LeasedInstance[]>()
      bench.near = (equals) => {
        const known = near.get(equals) ?? equals.filter(isNear)
        near.set(equals, known)
        return known
      }
      for (let i = 0; i < 20; i++) await bench.call()
      assert.isTrue(bench.ids.every((id) => isNear({ id })))
      bench.attempts.length = 0
      bench.serve = (id) =>
        isNear({ id }) ? Promise.reject(new RpcError('unavailable', 'gone')) : Promise.resolve(answer(id))
      for (let i = 0; i < 5; i++) {
        const response = await bench.call({ idempotent: true })
        assert.notInstanceOf(response, RpcError)
      }
      assert.lengthOf(bench.attempts, 10)
      bench.close()
    },

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

    'a table that does not answer holds no caller beyond its deadline': async () => {
      const clock = new VirtualTime(1_000_000)
      const caller = new AbortController()
      const send = createRouter({
        instances: () => new Promise(() => {}),
        connect: () => undefined,
        onUnreachable: () => {},
        clock,
        random: seededRandom(1),
        metrics: new Metrics(),
      })
      const call = send({ ...request(), signal: caller.signal }).catch((error) => error)
      caller.abort(new RpcError('deadline_exceeded', 'Cannot finish the call: time is up'))
      assert.equal((await call).code, 'deadline_exceeded')
    },

    'only the group asked for serves': async () => {
      const bench = new RouterBench([instance('a'), instance('b', { group: 'canary' })])
      for (let i = 0; i < 20; i++) await bench.call({ group: 'canary' })
      assert.deepEqual(new Set(bench.ids), new Set(['b']))
      for (let i = 0; i < 20; i++) await bench.call()
      assert.deepEqual(bench.ids.slice(20), new Array(20).fill('a'))
    },

    'a version of which all are suspect stands behind those that can serve': async () => {
      const silent = { ageMs: 14_000, ttlMs: 15_000 }
      const table = (newest: Partial<LeasedInstance>) => [
        instance('old', { version: '1.0.0', ttlMs: 15_000, ageMs: 0 }),
        instance('new', { version: '1.1.0', ttlMs: 15_000, ageMs: 0, ...newest }),
      ]
      const bench = new RouterBench(table(silent))
      for (let i = 0; i < 5; i++) await bench.call({ version: '^1.0.0' })
      assert.deepEqual([...new Set(bench.ids)], ['old'])
      bench.attempts.length = 0
      bench.table = table({})
      await bench.call({ version: '^1.0.0' })
      assert.deepEqual(bench.ids, ['new'])
      bench.attempts.length = 0
      // Where all are, the order is as ever.
      bench.table = table(silent).map((each) => ({ ...each, ageMs: 14_000 }))
      await bench.call({ version: '^1.0.0' })
      assert.deepEqual(bench.ids, ['new'])
      bench.close()
    },

    'the highest compatible version serves; lower ones where it cannot': async () => {
      const table = [
        instance('old', { version: '1.2.9' }),
        instance('new', { version: '1.10.0' }),
        instance('new too', { version: '1.10.0' }),
        instance('next', { version: '2.0.0' }),
        instance('test', { version: '1.11.0-rc.1' }),
      ]
      const bench = new RouterBench(table)
      for (let i = 0; i < 20; i++) await bench.call({ version: '^1.0.0' })
      assert.deepEqual(new Set(bench.ids), new Set(['new', 'new too']))
      bench.attempts.length = 0
      bench.serve = () => Promise.reject(gone())
      await bench.call({ version: '^1.0.0' })
      assert.deepEqual(new Set(bench.ids.slice(0, 2)), new Set(['new', 'new too']))
      assert.equal(bench.ids[2], 'old')
      bench.attempts.length = 0
      bench.serve = (id) => Promise.resolve(answer(id))
      await bench.call({ version: '' })
      await bench.call({ version: '1.2.x' })
      assert.deepEqual(bench.ids, ['next', 'old'])
      bench.close()
    },

    'weight 0 asks for no calls': async () => {
      const bench = new RouterBench([
        instance('a', { version: '1.1.0', weight: 0 }),
        instance('b'),
        instance('c', { weight: 0 }),
      ])
      for (let i = 0; i < 20; i++) await bench.call()
      assert.deepEqual(new Set(bench.ids), new Set(['b']))
      bench.table = bench.table.filter(({ id }) => id !== 'b')
      for (let i = 0; i < 20; i++) await bench.call()
      assert.deepEqual(new Set(bench.ids), new Set(['b', 'a']))
    },

    'what cannot be found is said, with what there is': async () => {
      const many = Array.from({ length: 8 }, (_, i) => instance(`i${i}`, { version: `3.${i}.0`, group: 'blue' }))
      const cases: [readonly LeasedInstance[], Partial<RpcRequest>, string, string][] = [
        [[], {}, 'not_found', 'no instance of it is registered'],
        [many, {}, 'not_found', 'group "default" was asked for, there is blue'],
        [
          many,
          { group: 'blue' },
          'failed_precondition',
          'version ^1.0.0 was asked for, there is 3.0.0, 3.1.0, 3.2.0, 3.3.0, 3.4.0 and 3 more',
        ],
      ]
      for (const [table, fields, code, text] of cases) {
        const bench = new RouterBench(table)
        const outcome = await bench.call(fields)
        assert.equal(codeOf(outcome), code)
        assert.include((outcome as RpcError).message, text)
        assert.equal(bench.attempts.length, 0)
      }
    },

    'instances that this process cannot reach are passed over': async () => {
      const bench = new RouterBench(instances(10))
      bench.reachable = (id) => id === 'i7'
      for (let i = 0; i < 10; i++) assert.equal(codeOf(await bench.call()), 'ok')
      assert.deepEqual(new Set(bench.ids), new Set(['i7']))
      bench.reachable = () => false
      const outcome = await bench.call()
      assert.equal(codeOf(outcome), 'unavailable')
      assert.equal((outcome as RpcError).retryAfterMs, DEFAULTS.retryAfterMs)
    },

    'the table hears of instances that did not answer, and of nothing else': async () => {
      const bench = new RouterBench(instances(1))
      bench.serve = () => Promise.reject(new RpcError('invalid_argument', 'Cannot'))
      await bench.call()
      assert.deepEqual(bench.unreachable, [])
      bench.serve = () => Promise.reject(gone())
      await bench.call()
      assert.deepEqual(bench.unreachable, ['demo.Hello', 'demo.Hello', 'demo.Hello'])
      assert.equal(bench.metrics.valueOf('shoal_router_failures_total', { code: 'unavailable', retried: 'true' }), 2)
      assert.equal(bench.metrics.valueOf('shoal_router_failures_total', { code: 'unavailable', retried: 'false' }), 1)
    },

    'what was learnt of one service is not lost when another is called': async () => {
      const slow = [instance('slow'), instance('quick'), instance('quick too')]
      const bench = new RouterBench([...slow, instance('x', { service: 'demo.Other' })])
      bench.serve = async (id) => {
        await sleep(bench.clock, id === 'slow' ? 1_000 : 1)
        return answer(id)
      }
      for (let i = 0; i < 30; i++) {
        await bench.call()
        await bench.call({ service: 'demo.Other' })
      }
      // Each is tried once while nothing is known; then the slow one must wait for its average to decay.
      assert.isAtMost(bench.ids.filter((id) => id === 'slow').length, 1)
    },

    'an instance that fails fast does not attract calls': async () => {
      const bench = new RouterBench(instances(5))
      bench.serve = async (id) => {
        if (id === 'i0') throw new RpcError('internal', 'Cannot')
        await sleep(bench.clock, 20)
        return answer(id)
      }
      let failed = 0
      for (let i = 0; i < 100; i++) if (codeOf(await bench.call()) !== 'ok') failed++
      // Five in a row, and it is left out for longer than this lasts.
      assert.isAtMost(failed, 5)
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

    'streams and their metadata pass through': async () => {
      const bench = new RouterBench(instances(1))
      async function* payloads() {
        yield { codec: 'tensors' as const, structure: 1, parts: [] }
      }
      bench.serve = () => Promise.resolve({ kind: 'stream', metadata: {}, payloads: payloads() })
      const response = await bench.call({ stream: true }) as RpcResponse
      assert.equal(response.kind, 'stream')
      assert.equal(response.metadata['shoal-attempts'], '1')
    },
  },
}
