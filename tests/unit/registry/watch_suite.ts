import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { RegistryTable } from '../../../shared/registry/table.ts'
import { RegistryWatch } from '../../../shared/registry/watch.ts'
import type { Listing } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { instance } from '../routing/instances.ts'
import { VirtualTime } from '../virtual_time.ts'

const { registryRefreshMs, registryWatchMs } = DEFAULTS

/** A watch over a table over a store that the test fills. */
class Bench {
  readonly clock = new VirtualTime(1_000_000)
  readonly tables = new Map<string, { revision: number; ids: string[] }>()
  asked = 0
  isDown = false
  readonly table: RegistryTable
  readonly watch: RegistryWatch
  readonly stop = new AbortController()

  constructor() {
    const list = async (service: string, sinceRevision?: number): Promise<Listing> => {
      this.asked++
      if (this.isDown) throw new RpcError('unavailable', 'Cannot reach the store')
      const { revision, ids } = this.tables.get(service) ?? { revision: 0, ids: [] }
      if (revision === sinceRevision) return { revision, unchanged: true }
      return { revision, instances: ids.map((id) => instance(id, { service })) }
    }
    this.table = new RegistryTable({ leases: { list }, clock: this.clock, metrics: new Metrics(), log: silentLog })
    this.watch = new RegistryWatch(this.table, this.clock)
  }

  put(service: string, ...ids: string[]): void {
    this.tables.set(service, { revision: (this.tables.get(service)?.revision ?? 100) + 1, ids })
  }

  /** What a watcher has been told, as it goes on. */
  follow(service: string, signal = this.stop.signal): string[] {
    const told: string[] = []
    const run = async () => {
      for await (const { instances } of this.watch.watch(service, signal)) {
        told.push(instances.map(({ id }) => id).join(' '))
      }
      told.push('end')
    }
    run().catch((error) => told.push(error.code))
    return told
  }
}

function withBench(run: (bench: Bench) => Promise<void>): () => Promise<void> {
  return async () => {
    const bench = new Bench()
    await run(bench)
    bench.watch.close()
    await bench.clock.advance(DEFAULTS.registryWaitMs)
    assert.equal(bench.clock.pending, 0, 'timers')
  }
}

export const watchSuite: Suite = {
  name: 'registry: watch',
  cases: {
    'what was read stays fresh, for one question a second': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      await bench.table.instances('demo.Hello')
      bench.asked = 0
      await bench.clock.advance(60_000)
      assert.closeTo(bench.asked, 60_000 / registryRefreshMs, 1)
      bench.put('demo.Hello', 'a', 'b')
      await bench.clock.advance(registryRefreshMs)
      bench.asked = 0
      // The first call after a pause meets no stale table, and asks nothing itself.
      assert.lengthOf(await bench.table.instances('demo.Hello'), 2)
      assert.equal(bench.asked, 0)
      assert.isAtMost(bench.table.ageMs(), registryRefreshMs)
    }),

    'calls between the questions add none': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      for (let i = 0; i < 1_000; i++) {
        await bench.table.instances('demo.Hello')
        await bench.clock.advance(10)
      }
      assert.isAtMost(bench.asked, 10_000 / registryRefreshMs + 1)
    }),

    'a store that fails is asked no more often': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      await bench.table.instances('demo.Hello')
      bench.asked = 0
      for (let i = 0; i < 1_000; i++) {
        bench.isDown = i % 150 < 75
        await bench.table.instances('demo.Hello')
        await bench.clock.advance(10)
      }
      assert.isAtMost(bench.asked, 10_000 / registryRefreshMs + 1)
    }),

    'what nobody has read for long is left alone, and so are names without instances': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      await bench.table.instances('demo.Hello')
      await bench.table.instances('made.Up')
      await bench.clock.advance(registryWatchMs)
      bench.asked = 0
      await bench.clock.advance(60_000)
      assert.isAtMost(bench.asked, 1)
    }),

    'watchers are told of the table, then of each change, and not of anything else': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      const told = bench.follow('demo.Hello')
      await bench.clock.advance(10_000)
      assert.deepEqual(told, ['a'])
      bench.put('demo.Hello', 'a', 'b')
      bench.put('demo.Other', 'x')
      await bench.clock.advance(registryRefreshMs)
      assert.deepEqual(told, ['a', 'a b'])
      bench.put('demo.Hello')
      await bench.clock.advance(registryRefreshMs)
      assert.deepEqual(told, ['a', 'a b', ''])
    }),

    'a service that does not exist yet may be watched, also of a store that is away': withBench(async (bench) => {
      bench.isDown = true
      const told = bench.follow('demo.Late')
      await bench.clock.advance(5_000)
      assert.deepEqual(told, [])
      bench.isDown = false
      await bench.clock.advance(registryRefreshMs)
      assert.deepEqual(told, [''])
      bench.put('demo.Late', 'a')
      await bench.clock.advance(registryRefreshMs)
      assert.deepEqual(told, ['', 'a'])
    }),

    'many watchers of a service cost one question a second': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      const told = Array.from({ length: 50 }, () => bench.follow('demo.Hello'))
      await bench.clock.advance(10_000)
      assert.isAtMost(bench.asked, 10_000 / registryRefreshMs + 1)
      bench.put('demo.Hello', 'b')
      await bench.clock.advance(registryRefreshMs)
      for (const one of told) assert.deepEqual(one, ['a', 'b'])
    }),

    'who reads slowly misses what was in between, not the latest': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      const news = bench.watch.watch('demo.Hello', bench.stop.signal)
      await news.next()
      for (const id of ['b', 'c', 'd']) {
        bench.put('demo.Hello', id)
        await bench.clock.advance(registryRefreshMs)
      }
      const { value } = await news.next()
      assert.deepEqual(value?.instances.map(({ id }) => id), ['d'])
      await news.return()
    }),

    'a watch ends with its signal, and the service is asked for no more': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      const told = bench.follow('demo.Hello')
      await bench.clock.advance(1_000)
      bench.stop.abort()
      await bench.clock.advance(1_000)
      assert.deepEqual(told, ['a', 'end'])
      bench.asked = 0
      await bench.clock.advance(60_000)
      assert.equal(bench.asked, 0)
    }),

    'all end when the watch is closed': withBench(async (bench) => {
      bench.put('demo.Hello', 'a')
      const told = bench.follow('demo.Hello')
      await bench.clock.advance(1_000)
      bench.watch.close()
      await bench.clock.advance(1_000)
      assert.deepEqual(told, ['a', 'end'])
    }),

    'no more may watch than are bounded': withBench(async (bench) => {
      const first = new AbortController()
      bench.put('demo.Hello', 'a')
      const told = Array.from({ length: LIMITS.maxWatchers }, (_, i) => {
        return bench.follow('demo.Hello', i === 0 ? first.signal : bench.stop.signal)
      })
      const refused = bench.follow('demo.Hello')
      await bench.clock.advance(0)
      assert.deepEqual(refused, ['resource_exhausted'])
      first.abort()
      await bench.clock.advance(0)
      assert.deepEqual(told[0], ['a', 'end'])
      const next = bench.follow('demo.Hello')
      await bench.clock.advance(0)
      assert.deepEqual(next, ['a'])
    }),
  },
}
