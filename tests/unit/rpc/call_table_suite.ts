import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { CallTable } from '../../../shared/rpc/call_table.ts'
import type { Suite } from '../../suite.ts'

const LAST_ID = 2 ** 32 - 1

export const callTableSuite: Suite = {
  name: 'the table of calls',
  cases: {
    'holds what a Map would, as calls come and go in any order': () => {
      for (const [seed, range] of [20, 60, 5000, LAST_ID, LAST_ID].entries()) {
        const random = seededRandom(seed)
        const [table, map] = [new CallTable<number>(), new Map<number, number>()]
        for (let i = 0; i < 6000; i++) {
          const id = 1 + Math.floor(random() * range)
          // It grows for a thousand steps and shrinks for as many; the last ones end those that are left.
          if (random() < (i % 2000 < 1000 ? 0.7 : 0.3)) {
            table.set(id, i)
            map.set(id, i)
          } else assert.equal(table.delete(id), map.delete(id))
          assert.equal(table.has(id), map.has(id))
          assert.equal(table.get(id), map.get(id))
          assert.equal(table.size, map.size)
        }
        assert.sameMembers(table.keys(), [...map.keys()])
        assert.sameMembers(table.values(), [...map.values()])
        for (const [id, value] of map) assert.equal(table.get(id), value)
        for (const id of [...map.keys()]) assert.isTrue(table.delete(id))
        assert.deepEqual([table.size, table.keys(), table.values()], [0, [], []])
      }
    },

    'numbers chosen to meet in one place are all found': () => {
      const table = new CallTable<number>()
      // A table twice the size looks at 13 bits of the product: these have the same.
      const ids = [...Array(LAST_ID >>> 13).keys()].map((i) => (i + 1) * 2 ** 13)
        .filter((id) => Math.imul(id, 0x9e3779b1) >>> 19 === 0)
      assert.isAbove(ids.length, 50)
      for (const id of ids) table.set(id, id)
      for (const id of ids.toReversed()) assert.equal(table.get(id), id)
      for (const [i, id] of ids.entries()) {
        assert.isTrue(table.delete(id))
        assert.isFalse(table.has(id))
        assert.equal(table.get(ids.at(-1) ?? 0), i === ids.length - 1 ? undefined : ids.at(-1))
      }
    },
  },
}
