import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { consistentHash } from '../../../shared/routing/consistent_hash.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'
import { answer, RouterBench } from './router_bench.ts'

const KEYS = Array.from({ length: 4_000 }, (_, i) => `customer-${i}`)
const idle = () => consistentHash(() => 0, seededRandom(1))

export const consistentHashSuite: Suite = {
  name: 'routing: consistent hash',
  cases: {
    'whoever picks, a key is at one instance; only those of an instance that goes or comes move (seeded)': () => {
      for (let seed = 1; seed <= 10; seed++) {
        const random = seededRandom(seed)
        const all = instances(2 + Math.floor(random() * 20))
        const gone = all[Math.floor(random() * all.length)]
        const rest = all.filter((one) => one !== gone)
        const [before, after] = [idle(), idle()]
        let moved = 0
        for (const key of KEYS) {
          const [from, to] = [before(all, key), after(rest.toReversed(), key)]
          // Seen the other way, from the rest to all: nothing moves but to who has come.
          if (from === gone) moved++
          else assert.strictEqual(to, from)
        }
        // A part of 1/n of the keys: binomial, six standard deviations.
        const share = 1 / all.length
        assert.closeTo(moved / KEYS.length, share, 6 * Math.sqrt(share * (1 - share) / KEYS.length))
      }
    },

    'keys are spread in proportion to weights, within six standard deviations': () => {
      const weights = [1, 2, 0, 3, 4]
      const among = weights.map((weight, i) => instance(`i${i}`, { weight }))
      const pick = idle()
      const times = new Map<string, number>()
      for (const key of KEYS) {
        const id = pick(among, key)?.id ?? ''
        times.set(id, (times.get(id) ?? 0) + 1)
      }
      for (const [i, weight] of weights.entries()) {
        const share = weight / 10
        const bound = 6 * Math.sqrt(share * (1 - share) / KEYS.length)
        assert.closeTo((times.get(`i${i}`) ?? 0) / KEYS.length, share, bound)
      }
    },

    'no instance has more than a quarter above its part of the calls, however few keys there are (seeded)': () => {
      for (let seed = 1; seed <= 30; seed++) {
        const random = seededRandom(seed)
        const weights = Array.from({ length: 2 + Math.floor(random() * 10) }, () => 0.5 + random() * 4)
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        const among = weights.map((weight, i) => instance(`i${i}`, { weight }))
        const out = new Map<string, number>()
        const pick = consistentHash(({ id }) => out.get(id) ?? 0, random)
        const keys = 1 + Math.floor(random() * 3)
        let calls = 0
        for (let i = 0; i < 1_000; i++) {
          const ended = [...out].find(([, count]) => count > 0 && random() < 0.2)
          if (ended) {
            out.set(ended[0], ended[1] - 1)
            calls--
          }
          const picked = pick(among, `key ${Math.floor(random() * keys)}`) ?? assert.fail('none picked')
          const load = (out.get(picked.id) ?? 0) + 1
          calls++
          out.set(picked.id, load)
          // Below its bound before the call, which is a whole number: at it now, at the most.
          assert.isAtMost(load, Math.ceil(1.25 * calls * picked.weight / total + 1e-9))
        }
      }
    },

    'calls with a key go by it of themselves; one that is ejected or gone has its keys served elsewhere': async () => {
      const bench = new RouterBench(instances(5))
      const call = (key: string) => bench.call({ metadata: { 'shoal-hash-key': key } })
      for (let i = 0; i < 20; i++) await call('a')
      assert.equal(new Set(bench.ids).size, 1)
      const [home = ''] = bench.ids
      for (let i = 0; i < 40; i++) await call(`${i}`)
      assert.equal(new Set(bench.ids).size, 5)
      bench.table = bench.table.filter(({ id }) => id !== home)
      bench.attempts.length = 0
      for (let i = 0; i < 20; i++) await call('a')
      assert.equal(new Set(bench.ids).size, 1)
      assert.notInclude(bench.ids, home)
      // The caller's word: another balancer for this call.
      bench.serve = (id) => Promise.resolve(answer(id))
      for (let i = 0; i < 20; i++) {
        await bench.call({ metadata: { 'shoal-hash-key': 'a', 'shoal-balancer': 'round_robin' } })
      }
      assert.equal(new Set(bench.ids).size, 4)
    },

    'a subset does not part the calls of a key: all callers choose among all instances': async () => {
      const homes = await Promise.all(Array.from({ length: 10 }, async () => {
        const bench = new RouterBench(instances(40), 1, { subset: 4 })
        await bench.call({ metadata: { 'shoal-hash-key': 'a' } })
        return bench.ids[0]
      }))
      assert.equal(new Set(homes).size, 1)
    },
  },
}
