import process from 'node:process'
import { describe, expect, it } from 'vitest'
import { MUTATIONS, withMutation } from './mutations.ts'
import { replayCommand, simulate } from './simulate.ts'

/** Thousands where nobody waits for them; more by SIMULATION_SEEDS, others by SIMULATION_SEED. */
const SEEDS = Number(process.env.SIMULATION_SEEDS ?? (process.env.CI ? 2000 : 300))
const FIRST = Number(process.env.SIMULATION_SEED ?? 1)
const CHUNK = 100
/** Each mistake must show within so many runs. */
const PATIENCE = 400

const chunks = Array.from({ length: Math.ceil(SEEDS / CHUNK) }, (_, i) => FIRST + i * CHUNK)

describe('registry and routing through seeded trouble', () => {
  it.each(chunks)('keep every rule: seeds from %i on', async (first) => {
    const broken: string[] = []
    for (let seed = first; seed < Math.min(first + CHUNK, FIRST + SEEDS); seed++) {
      const { violations } = await simulate(seed)
      if (violations.length > 0) broken.push(`${violations.join(', ')}: ${replayCommand(seed)}`)
    }
    expect(broken).toEqual([])
  }, 120_000)

  it.each([3, 77, 4711])('do the same again for the same seed: %i', async (seed) => {
    const [first, other] = [await simulate(seed), await simulate(seed + 1)]
    const again = await simulate(seed)
    expect(again.hash).toBe(first.hash)
    expect(again.history).toEqual(first.history)
    expect(other.hash).not.toBe(first.hash)
    expect(first.history.length).toBeGreaterThan(200)
  })
})

describe('the simulator finds', () => {
  it.each(Object.keys(MUTATIONS))('%s', async (name) => {
    const mutation = MUTATIONS[name]
    if (!mutation) throw new Error(`Cannot find the mutation ${name}`)
    const found = await withMutation(mutation, async (parts) => {
      for (let seed = FIRST; seed < FIRST + PATIENCE; seed++) {
        const { violations } = await simulate(seed, parts)
        if (violations.includes(mutation.breaks)) return { seed, rule: mutation.breaks }
      }
      return undefined
    })
    expect(found?.rule).toBe(mutation.breaks)
    // The mistake is what broke it: without it the same run is sound.
    expect((await simulate(found?.seed ?? FIRST)).violations).toEqual([])
  }, 120_000)
})
