import { describe, expect, it } from 'vitest'
import { alignColumns, quote, sayChanges, shortFloat, wordSystemError } from '../../../functions/cli/text.ts'

it('columns are as wide as what stands in them, and lines end where their words do', () => {
  expect(alignColumns([['model', 'bytes'], ['a', '12'], ['cartoon', '']])).toBe(
    'model    bytes\na        12\ncartoon\n',
  )
  expect(alignColumns([])).toBe('')
})

describe('what is quoted', () => {
  it('is short', () => {
    expect(quote('{bad')).toBe('"{bad"')
    expect(quote('x'.repeat(41))).toBe(`"${'x'.repeat(40)}" …`)
    expect(quote('🐟'.repeat(40))).toBe(`"${'🐟'.repeat(40)}"`)
  })

  it('has nothing that a terminal acts on', () => {
    const all = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('')
    expect(quote(`${all}\u2028\u202e`, 300)).toMatch(/^[\x20-\x7e\u00a0-\u00ff\ufffd]*$/)
  })
})

it('a float32 has as many digits as tell it from its neighbours', () => {
  for (const [value, short] of [[0.1, '0.1'], [1 / 3, '0.33333334'], [16777216, '16777216'], [-0.5, '-0.5']] as const) {
    expect(shortFloat(Math.fround(value))).toBe(short)
  }
  expect(shortFloat(NaN)).toBe('NaN')
  const bits = new Float32Array(1)
  const word = new Uint32Array(bits.buffer)
  for (let i = 0; i < 2000; i++) {
    word[0] = (i * 2654435761) >>> 0
    const [value = 0] = bits
    expect(Object.is(Math.fround(Number(shortFloat(value))), value) || value === 0).toBe(true)
  }
})

it('the system’s refusals name the file and what it takes', () => {
  const refused = (code: string, path?: string) => Object.assign(new Error(`${code}: no`), { code, path })
  expect(wordSystemError(refused('EACCES', '/a/b'))).toBe(
    'Cannot use /a/b: this user must be allowed to, got permission denied',
  )
  for (
    const other of [refused('EACCES'), refused('EPIPE', '/a'), refused('constructor', '/a'), new Error('no'), 'no']
  ) {
    expect(wordSystemError(other)).toBeUndefined()
  }
})

it('what goes on is said once, and again when it comes back', () => {
  const said: string[] = []
  const say = sayChanges((line) => said.push(line))
  for (const line of ['down', 'down', 'slow', 'down', undefined, 'down', 'down']) say(line)
  expect(said).toEqual(['down', 'slow', 'down', 'down'])
})
