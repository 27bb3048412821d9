import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Outliers } from '../../../shared/routing/outliers.ts'
import { withoutSuspects } from '../../../shared/routing/suspects.ts'
import { isSuspect, type LeasedInstance } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'
import { answer, RouterBench } from './router_bench.ts'

const SUSPECT = { ageMs: 10_000 }
const ids = (set: readonly LeasedInstance[]) => set.map(({ id }) => id).join(' ')
/** Of instances by name, those in capitals suspect. */
const named = (names: string) =>
  names.split(' ').map((name) => instance(name, name === name.toUpperCase() ? SUSPECT : {}))
const soundOf = (names: string) => {
  const set = named(names)
  return ids(withoutSuspects(set, set.length))
}

/** Fails calls of some instances. @returns who was called by `calls` that may not be made twice */
async function calledOf(bench: RouterBench, isSick: (id: string) => boolean, calls: number): Promise<string[]> {
  bench.serve = (id) => isSick(id) ? Promise.reject(new RpcError('internal', 'Cannot')) : Promise.resolve(answer(id))
  bench.attempts.length = 0
  for (let i = 0; i < calls; i++) await bench.call({ idempotent: false })
  return bench.ids
}

export const suspectsSuite: Suite = {
  name: 'routing: suspects, and the ejected besides',
  cases: {
    'suspect from two thirds of its lease on': () => {
      assert.isFalse(isSuspect({ ageMs: 9_999, ttlMs: 15_000 }))
      assert.isTrue(isSuspect({ ageMs: 10_000, ttlMs: 15_000 }))
      assert.isFalse(isSuspect({ ageMs: 119_999, ttlMs: 180_000 }))
      assert.isTrue(isSuspect({ ageMs: 120_000, ttlMs: 180_000 }))
    },

    'suspects are left out, until they are the majority': () => {
      assert.equal(soundOf('a b c D'), 'a b c')
      assert.equal(soundOf('A b c D'), 'b c')
      assert.equal(soundOf('A b C D'), 'A b C D')
      assert.equal(soundOf('A'), 'A')
      assert.equal(soundOf('A b'), 'b')
      assert.equal(withoutSuspects([], 0).length, 0)
    },

    'the same list gives the same list, and itself if nobody is suspect': () => {
      const [mixed, sound] = [named('a b C'), named('a b c')]
      assert.strictEqual(withoutSuspects(mixed, 3), withoutSuspects(mixed, 3))
      assert.strictEqual(withoutSuspects(sound, 3), sound)
    },

    'no version and no group disappears': async () => {
      const bench = new RouterBench([
        ...named('a b c'),
        instance('d', { version: '2.0.0', ...SUSPECT }),
        instance('e', { group: 'blue', ...SUSPECT }),
      ])
      await bench.call({ version: '2.x' })
      await bench.call({ group: 'blue' })
      assert.deepEqual(bench.ids, ['d', 'e'])
    },

    /*
     * Of n at most ⌊n / 2⌋ are ejected. Where fewer than half are neither that nor suspect, suspects are given too. So half of
     * any set is given, rounded up, and of h > n / 2 that work at least h − ⌊n / 2⌋ are, whoever is suspect or ejected.
     */
    'of any set half is given at least, and one at least of a majority that works': () => {
      const random = seededRandom(1)
      let pressed = 0
      for (let run = 0; run < 2_000; run++) {
        const [size, share] = [1 + Math.floor(random() * 12), random()]
        const set = instances(size).map((one) => random() < share ? { ...one, ...SUSPECT } : one)
        const outliers = new Outliers()
        for (const { id } of set) {
          if (random() < share) { for (let i = 0; i < DEFAULTS.ejectionFailures; i++) outliers.failed(id, set, 0) }
        }
        const left = outliers.without(set, 0)
        const given = withoutSuspects(left, size)
        assert.isAtLeast(given.length, Math.ceil(size / 2))
        assert.isTrue(given.every((one) => left.includes(one)), 'who is ejected stays out')
        const suspects = given.filter(isSuspect).length
        assert.isTrue(suspects === 0 || left.length - suspects < size * DEFAULTS.panicShare, 'no suspect without need')
        if (left.length < size && left.some(isSuspect)) pressed++
        const most = size - given.length
        for (let works = Math.floor(size / 2) + 1; works <= size; works++) assert.isAtLeast(works - most, 1)
      }
      assert.isAbove(pressed, 500)
    },

    'suspects that may be up serve on where the others fail': async () => {
      const bench = new RouterBench(named('a b c D E F'), 1, { breaker: false })
      const isSick = (id: string) => id === 'a' || id === 'b'
      await calledOf(bench, isSick, 100)
      const called = new Set(await calledOf(bench, isSick, 200))
      assert.deepEqual([...called].sort(), ['D', 'E', 'F', 'c'])
    },

    'a zone of which all fail is left, though half of it is more than may be left out of it': async () => {
      const bench = new RouterBench(instances(6), 1, { breaker: false })
      const near = new WeakMap<readonly LeasedInstance[], readonly LeasedInstance[]>()
      bench.near = (equals) => {
        let close = near.get(equals)
        if (!close) near.set(equals, close = equals.filter(({ id }) => id < 'i2'))
        return close.length < 2 ? equals : close
      }
      const called = await calledOf(bench, (id) => id < 'i2', 400)
      assert.isTrue(called.slice(0, 5).every((id) => id < 'i2'))
      assert.isTrue(called.slice(100).every((id) => id >= 'i2'), `still ${called.slice(100).find((id) => id < 'i2')}`)
    },

    'others take the places of a subset’s that fail, though all of it do': async () => {
      const bench = new RouterBench(instances(9), 1, { breaker: false, subset: 3 })
      const part = new Set(await calledOf(bench, () => false, 100))
      assert.equal(part.size, 3)
      await calledOf(bench, (id) => part.has(id), 100)
      const called = new Set(await calledOf(bench, (id) => part.has(id), 200))
      assert.equal(called.size, 3)
      assert.isTrue([...called].every((id) => !part.has(id)))
    },
  },
}
