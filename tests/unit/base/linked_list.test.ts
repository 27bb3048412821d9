import { describe, expect, it } from 'vitest'
import { type Link, LinkedList } from '../../../shared/base/linked_list.ts'
import { seededRandom } from '../../../shared/base/random.ts'

describe('a linked list', () => {
  it('keeps the order of adding, whatever is taken out', () => {
    const random = seededRandom(7)
    const list = new LinkedList<number>()
    const links = new Map<number, Link<number>>()
    for (let step = 0; step < 2_000; step++) {
      const known = [...links]
      const drawn = known[Math.floor(random() * known.length)]
      if (drawn && random() < 0.5) {
        expect(list.remove(drawn[1])).toBe(true)
        links.delete(drawn[0])
      } else links.set(step, list.add(step))
      if (step % 50 === 0) expect([...list]).toEqual([...links.keys()])
      expect(list.size).toBe(links.size)
      expect(list.first).toBe([...links.keys()][0])
    }
  })

  it('takes a link out once, and leaves it pointing at nothing', () => {
    const list = new LinkedList<string>()
    const [, middle] = [list.add('a'), list.add('b'), list.add('c')]
    expect(list.remove(middle)).toBe(true)
    expect(list.remove(middle)).toBe(false)
    expect([...list]).toEqual(['a', 'c'])
    expect(middle).toMatchObject({ previous: undefined, next: undefined })
  })
})
