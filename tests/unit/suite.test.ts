import { describe, expect, it } from 'vitest'
import { runSuites } from '../suite.ts'

describe('runSuites', () => {
  it('reports every case in order, with the errors of those that fail', async () => {
    const ran: string[] = []
    const suite = {
      name: 'made up',
      cases: {
        passes: () => void ran.push('passes'),
        throws: () => {
          throw new TypeError('broken')
        },
        rejects: async () => await Promise.reject(new Error('broken later')),
        'throws no error': () => {
          throw 'text'
        },
        'still runs': () => void ran.push('still runs'),
      },
    }
    const results = await runSuites([suite, { name: 'empty', cases: {} }])
    expect(results.map(({ suite, name }) => `${suite}: ${name}`)).toEqual(
      Object.keys(suite.cases).map((name) => `made up: ${name}`),
    )
    expect(results.map(({ error }) => error?.split('\n')[0])).toEqual([
      undefined,
      'TypeError: broken',
      'Error: broken later',
      'threw text',
      undefined,
    ])
    expect(ran).toEqual(['passes', 'still runs'])
  })

  it('names a case that hangs and goes on', async () => {
    const cases = { hangs: () => new Promise<void>(() => {}), passes: () => {} }
    const [hung, passed] = await runSuites([{ name: 'made up', cases }], 5)
    expect(hung?.error).toContain('not finished after 5 ms')
    expect(passed).toEqual({ suite: 'made up', name: 'passes' })
  })
})
