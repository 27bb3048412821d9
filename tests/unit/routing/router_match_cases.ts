import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { createRouter } from '../../../shared/routing/call.ts'
import type { RpcRequest } from '../../../shared/rpc/send.ts'
import type { LeasedInstance } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'
import { answer, codeOf, gone, request, RouterBench } from './router_bench.ts'
import { VirtualTime } from '../virtual_time.ts'

/** Who may serve a call. */
export const matchCases: Suite['cases'] = {
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
}
