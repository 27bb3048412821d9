import { expect, it } from 'vitest'
import { nearest } from '../../../functions/cli/nearest.ts'
import { runHere } from './in_process.ts'

it('finds what was meant within two letters, and nothing where nothing is near', () => {
  const names = ['start', 'worker', 'models', 'call', 'key']
  const meant = { strat: 'start', wroker: 'worker', model: 'models', cal: 'call', 'models ': 'models', kyes: 'key' }
  for (const [typed, name] of Object.entries(meant)) expect(nearest(typed, names), typed).toBe(name)
  for (const typed of ['bench', '', 'x', 'starting']) expect(nearest(typed, names), typed).toBeUndefined()
  expect(nearest('start', [])).toBeUndefined()
})

it('says so where a command or an option was mistyped', async () => {
  expect((await runHere(['strat'])).line).toMatch(/got "strat" \(did you mean start\?\)$/)
  expect((await runHere(['bench'])).line).toMatch(/got "bench"$/)
  expect((await runHere(['start', '--prot', '1'])).line).toMatch(/'--prot' \(did you mean --port\? see --help\)/)
  expect((await runHere(['start', '--nothing'])).line).toMatch(/'--nothing' \(see --help\)/)
})
