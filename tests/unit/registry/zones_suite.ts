import { assert } from 'chai'
import { type Random, seededRandom } from '../../../shared/base/random.ts'
import { preferZone } from '../../../shared/registry/zones.ts'
import type { LeasedInstance } from '../../../shared/stores/lease_store.ts'
import type { Suite } from '../../suite.ts'
import { instance } from '../routing/instances.ts'

const ids = (instances: readonly LeasedInstance[]) => instances.map(({ id }) => id).join(' ')

/** Up to 30 instances of up to three versions, two groups and four zones; some heavy, some without weight. */
function anyTable(random: Random): LeasedInstance[] {
  const pick = <T>(...values: readonly [T, ...T[]]): T => values[Math.floor(random() * values.length)] ?? values[0]
  return Array.from({ length: Math.floor(random() * 30) }, (_, i) =>
    instance(`i${i}`, {
      version: pick('1.0.0', '1.0.0', '1.1.0', '2.0.0'),
      group: pick('default', 'default', 'blue'),
      zone: pick('', 'north', 'south', 'north', 'west'),
      weight: pick(1, 1, 1, 4, 0),
    }))
}

/** Sets of equal version and group, by what they are. */
const setsOf = (instances: readonly LeasedInstance[]) =>
  Map.groupBy(instances, ({ version, group }) => `${version} ${group}`)

export const zonesSuite: Suite = {
  name: 'registry: zones',
  cases: {
    'the near are preferred': () => {
      const table = ['north', 'north', 'south', 'south'].map((zone, i) => instance(`i${i}`, { zone }))
      assert.equal(ids(preferZone(table, 'north')), 'i0 i1')
      assert.equal(ids(preferZone(table, 'south')), 'i2 i3')
      assert.strictEqual(preferZone(table, ''), table)
      assert.strictEqual(preferZone(table, 'west'), table)
    },

    'one alone near is not enough, nor are two among very many': () => {
      const zones = (text: string) => text.split('').map((zone, i) => instance(`i${i}`, { zone }))
      assert.equal(preferZone(zones('nss'), 'n').length, 3)
      assert.equal(preferZone(zones('nnss'), 'n').length, 2)
      // Of two zones, half an even share is a quarter.
      assert.equal(preferZone(zones('nnssssss'), 'n').length, 2)
      assert.equal(preferZone(zones('nnsssssss'), 'n').length, 9)
      assert.equal(preferZone(zones('nn'), 'n').length, 2)
    },

    'a version that is far is still called': () => {
      const table = [
        ...[1, 2, 3].map((i) => instance(`old${i}`, { zone: 'north' })),
        instance('new', { version: '2.0.0', zone: 'south' }),
      ]
      assert.equal(ids(preferZone(table, 'north')), 'old1 old2 old3 new')
    },

    /*
     * Callers are spread evenly over Z zones and make one call each second. If a zone calls its own, each of its units of
     * weight gets 1 / w, with w the weight that is near; if all call all, Z / W. Near is chosen if w ≥ W / 2Z only, and then
     * 1 / w ≤ 2 Z / W.
     */
    'of any table: no zone calls only instances that get more than twice their even share': () => {
      const random = seededRandom(2)
      let chosen = 0
      for (let run = 0; run < 4_000; run++) {
        const table = anyTable(random)
        const answer = preferZone(table, 'north')
        assert.strictEqual(preferZone(table, 'north'), answer)
        const answered = setsOf(answer)
        for (const [name, set] of setsOf(table)) {
          const left = answered.get(name) ?? []
          assert.isNotEmpty(left)
          if (left.length === set.length) continue
          chosen++
          assert.isTrue(left.every(({ zone }) => zone === 'north'))
          assert.isAtLeast(left.length, 2)
          const weight = (some: readonly LeasedInstance[]) => some.reduce((sum, one) => sum + one.weight, 0)
          const zones = new Set(set.map(({ zone }) => zone)).size
          if (weight(set) > 0) assert.isAtMost(1 / weight(left), 2 * zones / weight(set))
        }
      }
      assert.isAbove(chosen, 1_000)
    },
  },
}
