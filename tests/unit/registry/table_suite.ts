import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { RegistryTable } from '../../../shared/registry/table.ts'
import type { LeasedInstance, Listing } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { instance } from '../routing/instances.ts'
import { VirtualTime } from '../virtual_time.ts'

/** A table over a store that answers, fails or hangs as the test says. */
class TableBench {
  readonly clock = new VirtualTime(1_000_000)
  readonly metrics = new Metrics()
  readonly services = new Map<string, { revision: number; instances: LeasedInstance[] }>()
  asked: { service: string; sinceRevision: number | undefined; atMs: number }[] = []
  mode: 'up' | 'down' | 'hanging' = 'up'
  #held: (() => void)[] = []
  readonly table: RegistryTable

  constructor() {
    const list = async (service: string, sinceRevision?: number): Promise<Listing> => {
      this.asked.push({ service, sinceRevision, atMs: this.clock.now() })
      if (this.mode === 'hanging') await new Promise<void>((resolve) => this.#held.push(resolve))
      if (this.mode === 'down') throw new RpcError('unavailable', 'Cannot reach the store')
      const known = this.services.get(service) ?? { revision: 0, instances: [] }
      return known.revision === sinceRevision ? { revision: known.revision, unchanged: true } : structuredClone(known)
    }
    this.table = new RegistryTable({ leases: { list }, clock: this.clock, metrics: this.metrics, log: silentLog })
  }

  put(service: string, ...ids: string[]): void {
    const revision = (this.services.get(service)?.revision ?? 100) + 1
    this.services.set(service, { revision, instances: ids.map((id) => instance(id, { service })) })
  }

  /** Ends a time of hanging: every question is answered (or refused, by the new mode). */
  release(mode: 'up' | 'down'): void {
    this.mode = mode
    for (const go of this.#held.splice(0)) go()
  }

  async ids(service = 'demo.Hello'): Promise<string[]> {
    return (await this.table.instances(service)).map(({ id }) => id)
  }

  /** The ids that a read gives without any time going by; undefined if it waits. */
  async idsAtOnce(service = 'demo.Hello'): Promise<string[] | undefined> {
    let ids: string[] | undefined
    void this.ids(service).then((found) => ids = found, () => {})
    for (let i = 0; i < 30; i++) await undefined
    return ids
  }
}

function onTable(run: (bench: TableBench) => Promise<void>): () => Promise<void> {
  return async () => {
    const bench = new TableBench()
    bench.put('demo.Hello', 'a')
    await run(bench)
    await bench.clock.advance(DEFAULTS.registryWaitMs)
    assert.equal(bench.clock.pending, 0, 'timers')
  }
}

const { registryRefreshMs, registryMaxStaleMs, registryWaitMs, registryMinRefreshMs } = DEFAULTS

export const tableSuite: Suite = {
  name: 'registry: table',
  cases: {
    'the first read asks; others are answered from memory until the entry is due': onTable(async (bench) => {
      assert.deepEqual(await bench.ids(), ['a'])
      bench.put('demo.Hello', 'a', 'b')
      await bench.clock.advance(registryRefreshMs - 1)
      assert.deepEqual(await bench.ids(), ['a'])
      assert.equal(bench.asked.length, 1)
    }),

    'a due entry is refreshed beside the read, which does not wait': onTable(async (bench) => {
      await bench.ids()
      bench.put('demo.Hello', 'b')
      await bench.clock.advance(registryRefreshMs)
      bench.mode = 'hanging'
      assert.deepEqual(await bench.idsAtOnce(), ['a'])
      bench.release('up')
      await bench.clock.advance(0)
      assert.deepEqual(await bench.ids(), ['b'])
    }),

    'many reads ask once: the first, and each refresh': onTable(async (bench) => {
      bench.mode = 'hanging'
      const reads = Array.from({ length: 100 }, () => bench.ids())
      await bench.clock.advance(0)
      assert.equal(bench.asked.length, 1)
      bench.release('up')
      for (const ids of await Promise.all(reads)) assert.deepEqual(ids, ['a'])
      await bench.clock.advance(registryRefreshMs)
      bench.mode = 'hanging'
      await Promise.all(Array.from({ length: 100 }, () => bench.ids()))
      assert.equal(bench.asked.length, 2)
      bench.release('up')
    }),

    'a refresh that changes nothing costs a revision, and gives the same list': onTable(async (bench) => {
      const first = await bench.table.instances('demo.Hello')
      await bench.clock.advance(registryRefreshMs)
      await bench.ids()
      await bench.clock.advance(0)
      assert.deepEqual(bench.asked.map(({ sinceRevision }) => sinceRevision), [undefined, 101])
      assert.strictEqual(await bench.table.instances('demo.Hello'), first)
      assert.equal(bench.asked.length, 2)
    }),

    'what is very old is worth a wait, but a bounded one': onTable(async (bench) => {
      await bench.ids()
      bench.put('demo.Hello', 'b')
      await bench.clock.advance(registryMaxStaleMs + 1)
      assert.deepEqual(await bench.ids(), ['b'])

      await bench.clock.advance(registryMaxStaleMs + 1)
      bench.mode = 'hanging'
      let ids: string[] | undefined
      void bench.ids().then((found) => ids = found)
      await bench.clock.advance(registryWaitMs - 1)
      assert.isUndefined(ids)
      await bench.clock.advance(1)
      assert.deepEqual(ids, ['b'])
      bench.release('up')
    }),

    'an empty table is worth a wait too': onTable(async (bench) => {
      assert.deepEqual(await bench.ids('demo.Late'), [])
      bench.put('demo.Late', 'first')
      await bench.clock.advance(registryRefreshMs)
      assert.deepEqual(await bench.ids('demo.Late'), ['first'])
    }),

    'all who meet an empty table wait for its refresh, not only the first': onTable(async (bench) => {
      assert.deepEqual(await bench.ids('demo.Late'), [])
      bench.put('demo.Late', 'first')
      await bench.clock.advance(registryRefreshMs)
      bench.mode = 'hanging'
      const reads = Array.from({ length: 3 }, () => bench.ids('demo.Late'))
      await bench.clock.advance(1)
      reads.push(bench.ids('demo.Late'))
      await bench.clock.advance(1)
      bench.release('up')
      assert.deepEqual(await Promise.all(reads), Array(4).fill(['first']))
    }),

    'a store that is away empties nothing, and after its first failure no read waits for it': onTable(async (bench) => {
      await bench.ids()
      bench.mode = 'down'
      // What a day of outage looks like to a caller.
      for (const awayMs of [1_000, 5_000, 20_000, 60_000, 86_400_000]) {
        await bench.clock.advance(awayMs)
        assert.deepEqual(await bench.idsAtOnce(), ['a'], `after ${awayMs} ms`)
      }
      assert.isAbove(bench.metrics.valueOf('shoal_registry_refresh_failures_total'), 3)
      bench.put('demo.Hello', 'b')
      bench.mode = 'up'
      await bench.clock.advance(registryRefreshMs)
      await bench.ids()
      await bench.clock.advance(0)
      assert.deepEqual(await bench.ids(), ['b'])
    }),

    'a store that hangs slows no read of what is known': onTable(async (bench) => {
      await bench.ids()
      bench.mode = 'hanging'
      for (let i = 0; i < 10; i++) {
        await bench.clock.advance(1_000)
        assert.deepEqual(await bench.idsAtOnce(), ['a'])
      }
      assert.equal(bench.asked.length, 2, 'one question is out')
      bench.release('down')
      await bench.clock.advance(20_000)
      bench.mode = 'hanging'
      assert.deepEqual(await bench.idsAtOnce(), ['a'])
      bench.release('up')
    }),

    'a store that is away is not asked for each call': onTable(async (bench) => {
      await bench.ids()
      bench.mode = 'down'
      await bench.clock.advance(registryRefreshMs)
      bench.asked = []
      for (let i = 0; i < 1_000; i++) await bench.idsAtOnce()
      assert.equal(bench.asked.length, 1)
      // Nor for names it was never asked about, which callers may invent.
      for (let i = 0; i < 1_000; i++) await bench.table.instances(`made.Up${i}`).catch(() => {})
      assert.isAtMost(bench.asked.length, 2)
      await bench.clock.advance(registryMinRefreshMs)
      await bench.idsAtOnce()
      assert.isAtMost(bench.asked.length, 3)
    }),

    'a store that never answered is said to be unavailable, to each who waited': onTable(async (bench) => {
      bench.mode = 'hanging'
      const reads = Array.from({ length: 3 }, () => bench.ids().catch((error) => error.code))
      await bench.clock.advance(0)
      bench.release('down')
      assert.deepEqual(await Promise.all(reads), ['unavailable', 'unavailable', 'unavailable'])
      bench.mode = 'up'
      await bench.clock.advance(registryMinRefreshMs)
      assert.deepEqual(await bench.ids(), ['a'])
    }),

    'a doubted entry is refreshed by the next read, at a bounded rate': onTable(async (bench) => {
      await bench.ids()
      bench.asked = []
      bench.put('demo.Hello', 'b')
      for (let i = 0; i < 100; i++) {
        bench.table.invalidate('demo.Hello')
        await bench.idsAtOnce()
        await bench.clock.advance(10)
      }
      assert.isAtMost(bench.asked.length, 1_000 / registryMinRefreshMs)
      assert.isAbove(bench.asked.length, 5)
      assert.deepEqual(await bench.ids(), ['b'])
      // Doubting makes nothing older than it is.
      assert.isAtMost(bench.table.ageMs(), registryMinRefreshMs + 10)
      bench.table.invalidate('demo.Unknown')
      assert.equal(bench.table.size, 1)
    }),

    'the age is that of the oldest entry in use; what nobody reads may grow old': onTable(async (bench) => {
      assert.equal(bench.table.ageMs(), 0)
      bench.put('demo.Other', 'o')
      await bench.ids('demo.Other')
      for (let i = 0; i < 60; i++) {
        await bench.clock.advance(1_000)
        await bench.ids()
        await bench.clock.advance(0)
      }
      assert.isAtMost(bench.table.ageMs(), registryRefreshMs)
      bench.mode = 'down'
      for (let i = 0; i < 60; i++) {
        await bench.clock.advance(1_000)
        await bench.ids()
      }
      assert.closeTo(bench.table.ageMs(), 60_000, 1_000)
      assert.match(bench.metrics.render(), /shoal_registry_table_age_seconds 6\d/)
    }),

    'an entry is as old as the question that it answers': onTable(async (bench) => {
      await bench.ids()
      await bench.clock.advance(registryRefreshMs)
      bench.mode = 'hanging'
      await bench.ids()
      await bench.clock.advance(900)
      bench.release('up')
      await bench.clock.advance(0)
      assert.equal(bench.table.ageMs(), 900)
    }),

    'names that never existed are bounded, and drive out none that do': onTable(async (bench) => {
      bench.put('demo.Quiet', 'q')
      await bench.ids('demo.Quiet')
      await bench.ids()
      for (let i = 0; i < 3 * LIMITS.maxCachedServices; i++) await bench.ids(`made.Up${i}`)
      assert.equal(bench.table.size, LIMITS.maxCachedServices)
      bench.asked = []
      bench.mode = 'down'
      assert.deepEqual(await bench.idsAtOnce('demo.Quiet'), ['q'])
      assert.deepEqual(await bench.idsAtOnce(), ['a'])
    }),

    'where all exist, the longest unread goes': onTable(async (bench) => {
      for (let i = 0; i <= LIMITS.maxCachedServices; i++) bench.put(`real.S${i}`, 'x')
      for (let i = 0; i < LIMITS.maxCachedServices; i++) await bench.ids(`real.S${i}`)
      // The order is kept to a second.
      await bench.clock.advance(1_000)
      await bench.ids('real.S0')
      await bench.ids(`real.S${LIMITS.maxCachedServices}`)
      assert.equal(bench.table.size, LIMITS.maxCachedServices)
      bench.asked = []
      await bench.ids('real.S0')
      await bench.ids('real.S1')
      assert.deepEqual(bench.asked.map(({ service }) => service), ['real.S1'])
    }),
  },
}
