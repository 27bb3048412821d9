import { describe, expect, it } from 'vitest'
import { ElectionWorld, SOUND, TTL_MS } from './election_world.ts'

const SEEDS = 600

/** Something goes wrong, or right again, every second or so. */
async function trouble(world: ElectionWorld): Promise<void> {
  const { random, processes } = world
  const process = processes[Math.floor(random() * processes.length)]
  if (!process) return
  const { network } = process
  const faults: (() => void)[] = [
    () => network.dropRate = random() * 0.6,
    () => network.maxDelayMs = random() * TTL_MS * 1.5,
    () => network.down = true,
    () => processes.forEach((other) => other.network.down = true),
    () => Object.assign(network, SOUND),
    () => Object.assign(network, SOUND),
    () => processes.forEach((other) => Object.assign(other.network, SOUND)),
    () => process.pause(),
    () => process.pause(),
    () => process.wake(),
    () => process.wake(),
    () => {
      process.wake()
      network.down = true
    },
    () => process.setWallClock((random() - 0.7) * 10 * TTL_MS),
  ]
  faults[Math.floor(random() * faults.length)]?.()
  await world.clock.advance(random() * TTL_MS * 0.5)
}

describe('campaigns over a bad network', () => {
  /*
   * A leader stops 0.9 leases after sending its last confirmed renewal, by its own clock; the store's lease lasts one
   * lease from receiving it, by the store's. With clocks that differ in rate by less than 10 % the leader is first, however
   * late requests and answers are. A paused process does nothing; what counts is what it sees when it wakes.
   */
  it.each(Array.from({ length: SEEDS }, (_, seed) => seed))('has never two leaders at once: seed %i', async (seed) => {
    const world = new ElectionWorld(seed, 3)
    for (let i = 0; i < 60; i++) await trouble(world)

    // All is well again: some leader is found, and stays.
    for (const process of world.processes) {
      process.wake()
      process.setWallClock(0)
      Object.assign(process.network, SOUND)
    }
    world.restless = false
    await world.clock.advance(4 * TTL_MS)
    expect(world.leaders).toBe(1)
    const { length } = world.reigns
    await world.clock.advance(5 * TTL_MS)
    expect(world.leaders).toBe(1)
    expect(world.reigns).toHaveLength(length)
    await world.close()
    expect(world.clock.pending).toBe(0)

    const reigns = world.reigns.toSorted((a, b) => a.fromMs - b.fromMs)
    for (const [i, next] of reigns.entries()) {
      const before = reigns[i - 1]
      if (!before) continue
      expect(next.fromMs, `${JSON.stringify(before)} beside ${JSON.stringify(next)}`).toBeGreaterThanOrEqual(
        before.untilMs,
      )
      // One term may be several stretches, with pauses in between; a new one has a higher epoch.
      expect(next.epoch).toBeGreaterThanOrEqual(before.epoch)
      if (next.process !== before.process) expect(next.epoch).toBeGreaterThan(before.epoch)
    }
    expect(reigns.length).toBeGreaterThan(1)
  })
})
