import { describe, expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Announcer } from '../../../shared/registry/announcer.ts'
import { RegistryTable } from '../../../shared/registry/table.ts'
import { openSqliteLeases } from '../../../shared/stores/sqlite_store.ts'
import type { Instance } from '../../../shared/stores/lease_store.ts'
import { instance } from '../routing/instances.ts'

/** Announcers and a table over a real store. */
function open() {
  const clock = new FakeClock()
  const store = openSqliteLeases(':memory:', clock)
  const table = new RegistryTable({ leases: store, clock, metrics: new Metrics(), log: silentLog })
  const refused: string[] = []
  const announce = (given: Instance, seed: number) =>
    new Announcer({
      leases: store,
      clock,
      random: seededRandom(seed),
      log: silentLog,
      onRefused: (instances) => refused.push(...instances.map(({ incarnation }) => incarnation)),
    }, [given])
  const listed = async () => {
    await table.instances('demo.Hello')
    await clock.advance(DEFAULTS.registryRefreshMs)
    await table.instances('demo.Hello')
    await clock.advance(0)
    return (await table.instances('demo.Hello')).map(({ id, incarnation }) => `${id} ${incarnation}`)
  }
  return { clock, store, announce, listed, refused }
}

describe('announcer, store and table together', () => {
  it('an instance is listed while it beats, and gone when it leaves', async () => {
    const { clock, store, announce, listed } = open()
    const [a, b] = [announce(instance('a'), 1), announce(instance('b'), 2)]
    await Promise.all([a.start(), b.start()])
    expect(await listed()).toEqual(['a first', 'b first'])
    await clock.advance(10 * DEFAULTS.relayLeaseMs)
    expect(await listed()).toEqual(['a first', 'b first'])
    await a.stop()
    expect(await listed()).toEqual(['b first'])
    await b.stop()
    expect(await listed()).toEqual([])
    expect(clock.pending).toBe(0)
    await store.close()
  })

  it('a process that was superseded while it slept learns that its life is over, and disturbs nobody', async () => {
    const { clock, store, announce, listed, refused } = open()
    const zombie = announce(instance('a', { incarnation: 'zombie' }), 1)
    await zombie.start()
    const successor = announce(instance('a', { incarnation: 'successor' }), 2)
    await successor.start()
    await clock.advance(2 * DEFAULTS.relayBeatMs)
    expect(refused).toEqual(['zombie'])
    expect(await listed()).toEqual(['a successor'])
    await zombie.stop()
    expect(await listed()).toEqual(['a successor'])
    await successor.stop()
    expect(clock.pending).toBe(0)
    await store.close()
  })
})
