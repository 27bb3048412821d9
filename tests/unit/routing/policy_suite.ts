import { assert } from 'chai'
import { sleep } from '../../../shared/base/clock.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { readPolicies } from '../../../shared/routing/policy.ts'
import type { RpcRequest, RpcResponse } from '../../../shared/rpc/send.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'
import { answer, codeOf, gone, request, RouterBench } from './router_bench.ts'

const broken = () => Promise.reject(new RpcError('internal', 'Cannot'))
const attemptsOf = (outcome: RpcResponse | RpcError) =>
  outcome instanceof RpcError ? outcome.attempts : outcome.metadata['shoal-attempts']
const json = (text: string) => ({ codec: 'json' as const, body: new TextEncoder().encode(text) })
const valueOf = (outcome: RpcResponse | RpcError) => {
  if (outcome instanceof RpcError || outcome.kind !== 'unary') return undefined
  const { payload } = outcome
  return 'value' in payload ? payload.value : 'body' in payload ? new TextDecoder().decode(payload.body) : undefined
}

export const policySuite: Suite = {
  name: 'routing: policies',
  cases: {
    'an instance that fails every call is ejected, and tried again after its time': async () => {
      const bench = new RouterBench(instances(4))
      bench.serve = async (id) => id === 'i0' ? await broken() : await sleep(bench.clock, 10).then(() => answer(id))
      const failuresIn = async (calls: number) => {
        const before = bench.attempts.length
        for (let i = 0; i < calls; i++) await bench.call()
        return bench.ids.slice(before).filter((id) => id === 'i0').length
      }
      // However slowly its average decays, five in a row are all that it gets in 30 s.
      assert.isAtMost(await failuresIn(5_000), 10)
      assert.isAtLeast(bench.metrics.valueOf('shoal_router_ejections_total'), 1)
      assert.include(bench.metrics.render(), 'shoal_router_ejected_instances')
      bench.serve = async (id) => await sleep(bench.clock, 10).then(() => answer(id))
      await bench.clock.advance(600_000)
      assert.isAbove(await failuresIn(400), 40)
    },

    'where those alone are ejected that cannot be reached, what an instance answers ejects it never': async () => {
      for (const unanswered of [true, false]) {
        const routing = { outliers: { only: 'unanswered' }, breaker: false, balancer: 'round_robin' } as const
        const bench = new RouterBench(instances(4), 1, routing)
        bench.serve = (id) => id === 'i0' ? Promise.reject(gone({ unanswered })) : Promise.resolve(answer(id))
        for (let i = 0; i < 80; i++) await bench.call()
        const times = bench.ids.filter((id) => id === 'i0').length
        if (unanswered) assert.equal(times, 5)
        else assert.isAtLeast(times, 15)
        assert.equal(bench.metrics.render().includes('shoal_router_ejections_total 1'), unanswered)
      }
    },

    'pushback is no fault: who asks for a pause gets fewer calls, and is not ejected': async () => {
      const bench = new RouterBench(instances(2))
      bench.serve = async (id) => {
        if (id === 'i0') throw new RpcError('resource_exhausted', 'Cannot', { retryAfterMs: 1_000 })
        await sleep(bench.clock, 10)
        return answer(id)
      }
      for (let i = 0; i < 300; i++) await bench.call()
      assert.isAtMost(bench.ids.filter((id) => id === 'i0').length, 15)
      assert.equal(bench.metrics.valueOf('shoal_router_ejections_total'), 0)
    },

    'a service of which all fails is left alone, and found again when it is well': async () => {
      const bench = new RouterBench(instances(3))
      bench.serve = broken
      const outcomes = []
      for (let i = 0; i < 100; i++) outcomes.push(await bench.call())
      assert.equal(bench.attempts.length, 20)
      const refused = outcomes.at(-1) as RpcError
      assert.deepEqual([refused.code, refused.neverSent], ['unavailable', true])
      assert.isAbove(refused.retryAfterMs ?? 0, 0)
      assert.equal(bench.metrics.valueOf('shoal_router_refused_total', { by: 'breaker' }), 80)
      bench.serve = (id) => Promise.resolve(answer(id))
      await bench.clock.advance(6_000)
      for (let i = 0; i < 10; i++) assert.equal(codeOf(await bench.call()), 'ok')
      assert.equal(bench.metrics.valueOf('shoal_router_breaker_changes_total', { to: 'closed' }), 1)
    },

    'callers in a hurry, errors of theirs, and pools without workers open no breaker': async () => {
      const impatient = new RouterBench(instances(3))
      impatient.serve = async (id, { signal }) => {
        await sleep(impatient.clock, 100, signal)
        return answer(id)
      }
      await impatient.call()
      for (let i = 0; i < 60; i++) {
        const caller = new AbortController()
        const call = impatient.send({ ...request(), signal: caller.signal }).catch((error) => error)
        await impatient.clock.advance(50)
        caller.abort(new RpcError('deadline_exceeded', 'time is up'))
        assert.equal(codeOf(await call), 'deadline_exceeded')
      }
      const [wrong, empty] = [new RouterBench(instances(3)), new RouterBench(instances(3))]
      wrong.serve = () => Promise.reject(new RpcError('invalid_argument', 'Cannot'))
      empty.serve = () => Promise.reject(gone({ retryAfterMs: 1_000, neverSent: true }))
      for (let i = 0; i < 60; i++) await wrong.call()
      for (let i = 0; i < 60; i++) await empty.call()
      for (const { metrics } of [impatient, wrong, empty]) {
        assert.equal(metrics.valueOf('shoal_router_breaker_changes_total', { to: 'open' }), 0)
        assert.equal(metrics.valueOf('shoal_router_ejections_total'), 0)
      }
    },

    'a service that hangs opens its breaker': async () => {
      const bench = new RouterBench(instances(3))
      await bench.call()
      bench.serve = (_, { signal }) => sleep(bench.clock, 1e9, signal).then(() => answer(''))
      const hang = async () => {
        const caller = new AbortController()
        const call = bench.send({ ...request(), signal: caller.signal }).catch((error) => error)
        await bench.clock.advance(100)
        caller.abort(new RpcError('deadline_exceeded', 'time is up'))
        return codeOf(await call)
      }
      // One was answered: it is the 19th that makes twenty calls.
      for (let i = 0; i < 19; i++) assert.equal(await hang(), 'deadline_exceeded')
      assert.equal(await hang(), 'unavailable')
      bench.close()
    },

    'an attempt that takes too long is made again elsewhere': async () => {
      const bench = new RouterBench(instances(3), 1, { attemptTimeoutMs: 200 })
      bench.serve = async (id, { signal }) => {
        if (bench.attempts.length === 1) await sleep(bench.clock, 5_000, signal)
        return answer(id)
      }
      const outcome = await bench.call()
      assert.equal(attemptsOf(outcome), '2')
      assert.isBelow((bench.attempts[1]?.atMs ?? 0) - (bench.attempts[0]?.atMs ?? 0), 230)
      assert.equal(new Set(bench.ids).size, 2)
      // Not so where it might have been done already.
      bench.attempts.length = 0
      assert.equal(codeOf(await bench.call({ idempotent: false })), 'unavailable')
      bench.close()
    },

    'hedges: few, within the budget, where they help, and said in the answer (seeded)': async () => {
      const [plain, hedging] = await Promise.all([undefined, { hedge: true }].map(async (policy) => {
        const bench = new RouterBench(instances(5), 1, policy)
        const random = seededRandom(12)
        const cancelled: string[] = []
        bench.serve = async (id, { signal }) => {
          await sleep(bench.clock, random() < 0.02 ? 1_000 : 10 + 10 * random(), signal).catch((reason) => {
            cancelled.push(id)
            throw reason
          })
          return answer(id)
        }
        const calls = []
        for (let i = 0; i < 1_000; i++) {
          const startedAtMs = bench.clock.now()
          let call: { tookMs: number; attempts: string | undefined } | undefined
          void bench.send(request()).then((response) =>
            call = { tookMs: bench.clock.now() - startedAtMs, attempts: attemptsOf(response) }
          )
          while (!call) await bench.clock.advance(1)
          calls.push(call)
        }
        bench.close()
        return { bench, cancelled, calls, slow: calls.filter(({ tookMs }) => tookMs > 500).length }
      }))
      if (!plain || !hedging) throw new Error('none ran')
      assert.isAbove(plain.slow, 10)
      // Those made before fifty were counted have none; after that both attempts must be slow: 0.02² · 1000 = 0.4.
      assert.isAtMost(hedging.slow, 5)
      // At most 5 % take longer than p95; what it lags behind, and what chance adds, is less than as much again.
      const hedged = hedging.bench.attempts.length - 1_000
      assert.isAtMost(hedged, 100)
      const { calls, cancelled, bench } = hedging
      assert.equal(calls.filter(({ attempts }) => attempts === '2;hedged').length, hedged)
      assert.equal(cancelled.length, hedged)
      const won = bench.metrics.valueOf('shoal_router_hedges_total', { won: 'true' })
      assert.equal(won + bench.metrics.valueOf('shoal_router_hedges_total', { won: 'false' }), hedged)
      assert.isAtLeast(won, 5)
    },

    'what is not idempotent is never hedged, nor is a lone instance’s call': async () => {
      for (const [count, idempotent] of [[5, false], [1, true]] as const) {
        const bench = new RouterBench(instances(count), 1, { hedge: true })
        let slow = false
        bench.serve = (id) => sleep(bench.clock, slow ? 1_000 : 10).then(() => answer(id))
        for (let i = 0; i < 60; i++) await bench.call({ idempotent })
        slow = true
        assert.equal(attemptsOf(await bench.call({ idempotent })), '1')
        assert.equal(bench.attempts.length, 61)
        bench.close()
      }
    },

    'when everything is slow, hedges stay within the budget': async () => {
      const bench = new RouterBench(instances(5), 1, { hedge: true })
      let tookMs = 10
      bench.serve = (id) => sleep(bench.clock, tookMs).then(() => answer(id))
      for (let i = 0; i < 60; i++) await bench.call()
      tookMs = 500
      const before = bench.attempts.length
      const calls = 100
      const open = Array.from({ length: calls }, () => bench.send(request()))
      await bench.clock.advance(2_000)
      await Promise.all(open)
      // What 160 calls earned, and the ten that are free, with ten for the second that went by.
      assert.isAtMost(bench.attempts.length - before - calls, 0.2 * 160 + 20)
      bench.close()
    },

    'a bulkhead holds calls of a method back, and of that method alone': async () => {
      const bench = new RouterBench(instances(3), 1, {
        methods: { slow: { bulkhead: { maxConcurrent: 2, maxQueued: 3 } } },
      })
      bench.serve = (id) => sleep(bench.clock, 100).then(() => answer(id))
      const outcomes: string[] = []
      const calls = Array.from(
        { length: 8 },
        () =>
          bench.send({ ...request(), method: 'slow' }).catch((error) => error).then((outcome) =>
            outcomes.push(codeOf(outcome))
          ),
      )
      await bench.clock.advance(1)
      assert.equal(bench.attempts.length, 2)
      assert.deepEqual(outcomes, ['resource_exhausted', 'resource_exhausted', 'resource_exhausted'])
      await bench.call({ method: 'sayHello' })
      await bench.clock.advance(1_000)
      await Promise.all(calls)
      assert.equal(outcomes.filter((code) => code === 'ok').length, 5)
      assert.equal(bench.metrics.valueOf('shoal_router_refused_total', { by: 'bulkhead' }), 3)
      bench.close()
    },

    'methods that callers make up have their places together, beyond 256': async () => {
      const bench = new RouterBench(instances(3), 1, { bulkhead: { maxConcurrent: 1, maxQueued: 0 }, breaker: false })
      bench.serve = (id) => sleep(bench.clock, 100).then(() => answer(id))
      const calls = Array.from(
        { length: 400 },
        (_, i) => bench.send({ ...request(), method: `method${i}` }).catch((error) => error).then(codeOf),
      )
      await bench.clock.advance(1_000)
      const codes = await Promise.all(calls)
      // Each of the first 256 has a place, and all the others have one.
      assert.equal(codes.filter((code) => code === 'ok').length, 256 + 1)
      bench.close()
    },

    'a fallback: a value of the caller’s': async () => {
      const bench = new RouterBench(instances(2), 1, {
        methods: { sayHello: { fallback: { value: { message: 'later' } } } },
      })
      bench.serve = () => Promise.reject(gone())
      const outcome = await bench.call()
      assert.deepEqual([valueOf(outcome), attemptsOf(outcome)], [{ message: 'later' }, '3;fallback=static'])
      assert.equal(codeOf(await bench.call({ method: 'other' })), 'unavailable')
      // That nobody serves it is a failure; that the caller asked for something impossible is not, nor that he left.
      bench.table = []
      assert.deepEqual(valueOf(await bench.call()), { message: 'later' })
      bench.table = instances(2)
      bench.serve = () => Promise.reject(new RpcError('not_found', 'Cannot find "x"'))
      assert.equal(codeOf(await bench.call()), 'not_found')
      const left = new AbortController()
      left.abort()
      bench.serve = () => Promise.reject(gone())
      assert.equal(codeOf(await bench.call({ signal: left.signal })), 'canceled')
      assert.equal(bench.metrics.valueOf('shoal_router_fallbacks_total', { kind: 'static', answered: 'true' }), 2)
    },

    'a fallback: the last good answer to the same question': async () => {
      const bench = new RouterBench(instances(2), 1, { fallback: { lastGood: true } })
      bench.serve = (_, { payload }) =>
        Promise.resolve({
          kind: 'unary',
          metadata: {},
          payload: 'body' in payload ? json(`re ${new TextDecoder().decode(payload.body)}`) : payload,
        })
      const ask = (text: string, fields: Partial<RpcRequest> = {}) => bench.call({ payload: json(text), ...fields })
      for (let i = 0; i < 300; i++) await ask(`${i}`)
      bench.table = []
      const outcome = await ask('299')
      assert.deepEqual([valueOf(outcome), attemptsOf(outcome)], ['re 299', '0;fallback=last_good'])
      // Of 300 the last 256 are kept. Another question is another, whatever it differs in.
      assert.equal(valueOf(await ask('44')), 're 44')
      assert.equal(codeOf(await ask('43')), 'not_found')
      const others: Partial<RpcRequest>[] = [
        { metadata: { 'x-user': 'b' } },
        { method: 'other' },
        { version: '' },
        { idempotent: false },
      ]
      for (const fields of others) assert.equal(codeOf(await ask('299', fields)), 'not_found')
    },

    'a fallback: the last good answer is kept as a copy, of bytes that slice without one too': async () => {
      const bench = new RouterBench(instances(2), 1, { fallback: { lastGood: true } })
      const read = new Uint8Array(1024)
      // As Node's Buffers do, which are views of what was read from a socket.
      class View extends Uint8Array<ArrayBuffer> {
        override slice(from?: number, to?: number): Uint8Array<ArrayBuffer> {
          return this.subarray(from, to)
        }
      }
      const { written } = new TextEncoder().encodeInto('fine', read)
      const body = new View(read.buffer, 0, written)
      bench.serve = () => Promise.resolve({ kind: 'unary', metadata: {}, payload: { codec: 'json', body } })
      await bench.call({ payload: json('same') })
      read.fill(0)
      bench.table = []
      assert.equal(valueOf(await bench.call({ payload: json('same') })), 'fine')
    },

    'a fallback: another service, once': async () => {
      const policies = { fallback: { service: 'demo.Other' } }
      const bench = new RouterBench(
        [...instances(1), instance('x', { service: 'demo.Other', version: '3.0.0' })],
        1,
        policies,
      )
      bench.serve = (id) => id === 'x' ? Promise.resolve(answer(id)) : broken()
      const outcome = await bench.call()
      assert.deepEqual([codeOf(outcome), attemptsOf(outcome)], ['ok', '1;fallback=service'])
      assert.deepEqual(bench.ids, ['i0', 'x'])
      // Where that fails too, what failed first is told.
      bench.serve = (id) => Promise.reject(new RpcError('internal', `Cannot: ${id}`))
      assert.equal((await bench.call() as RpcError).message, 'Cannot: i0')
    },

    'a balancer for the service, and another for a call that names one': async () => {
      const bench = new RouterBench(instances(4), 1, { balancer: 'round_robin' })
      for (let i = 0; i < 8; i++) await bench.call()
      assert.deepEqual(bench.ids.slice(0, 4), bench.ids.slice(4))
      assert.equal(new Set(bench.ids).size, 4)
      for (let i = 0; i < 40; i++) await bench.call({ metadata: { 'shoal-balancer': 'random' } })
      assert.notDeepEqual(bench.ids.slice(8, 28), bench.ids.slice(28, 48))
      const outcome = await bench.call({ metadata: { 'shoal-balancer': 'best' } }) as RpcError
      assert.equal(outcome.code, 'invalid_argument')
      assert.include(outcome.message, 'got "best"')
    },

    'a subset is all that is called, and one other for each of its outliers': async () => {
      const bench = new RouterBench(instances(50), 1, { subset: 6 })
      for (let i = 0; i < 200; i++) await bench.call()
      const part = new Set(bench.ids)
      assert.equal(part.size, 6)
      const [sick] = part
      bench.serve = (id) => id === sick ? broken() : Promise.resolve(answer(id))
      for (let i = 0; i < 500; i++) await bench.call()
      const others = [...new Set(bench.ids)].filter((id) => !part.has(id))
      assert.equal(others.length, 1)
      assert.equal(bench.metrics.valueOf('shoal_router_ejections_total'), 1)
    },

    'errors tell how many attempts were made': async () => {
      const bench = new RouterBench(instances(5))
      bench.serve = () => Promise.reject(gone())
      assert.equal(attemptsOf(await bench.call()), '3')
      assert.equal(attemptsOf(await bench.call({ idempotent: false })), '1')
      const patient = new RouterBench(instances(5), 1, { maxAttempts: 1 })
      patient.serve = () => Promise.reject(gone())
      assert.equal(attemptsOf(await patient.call()), '1')
    },

    'policies are read from JSON, and what is wrong with them is said': () => {
      const policyOf = readPolicies(
        '{"demo.Hello":{"balancer":"random","methods":{"a":{"hedge":true}}},"*":{"subset":9}}',
      )
      assert.deepEqual(policyOf('demo.Hello'), { balancer: 'random', methods: { a: { hedge: true } } })
      assert.deepEqual(policyOf('demo.Other'), { subset: 9 })
      assert.isUndefined(readPolicies('{}')('demo.Other'))
      const wrong: [string, string][] = [
        ['{', 'they must be JSON, got '],
        ['[]', 'the whole: Invalid input: expected record, received array'],
        ['{"a":{"balancer":"best"}}', '"consistent_hash", got "best"'],
        ['{"a":{"hegde":true}}', 'hegde'],
        [
          '{"a":{"methods":{"b":{"maxAttempts":0}}}}',
          'a.methods.b.maxAttempts: Too small: expected number to be >=1, got 0',
        ],
      ]
      for (const [text, expected] of wrong) assert.throws(() => readPolicies(text), expected)
    },
  },
}
