import { expect, it } from 'vitest'
import { kindOf, show, showForeign } from '../../../shared/base/show.ts'

it('a value is shown in at most eighty characters, whatever it is', () => {
  const shown: [unknown, string][] = [
    [undefined, 'undefined'],
    [null, 'null'],
    [-0.5, '-0.5'],
    ['a"b', '"a\\"b"'],
    [{ toString: 1 }, 'object'],
    [new Uint8Array(4), 'bytes'],
    [[1, 'x', null, [[]], {}], '[1,"x",null,an array,object]'],
  ]
  for (const [value, text] of shown) expect(show(value)).toBe(text)
  expect(show('x'.repeat(1e6)).length).toBe(80)
  expect(show(new Array(1e6).fill('x'.repeat(100))).length).toBe(80)
  expect(kindOf('secret')).toBe('string')
})

it('of a text that may be secret only the character that is not allowed is shown', () => {
  const allowed = /^[a-z]$/
  expect(showForeign('ab\nc', allowed)).toBe('U+000A at 2')
  expect(showForeign('a🐟', allowed)).toBe('U+1F41F at 1')
  expect(showForeign('abc', allowed)).toBe('3 characters')
})
