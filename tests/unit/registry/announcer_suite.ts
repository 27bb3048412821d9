import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import type { Log } from '../../../shared/base/log.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Announcer } from '../../../shared/registry/announcer.ts'
import type { Instance } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { instance } from '../routing/instances.ts'
import { VirtualTime } from '../virtual_time.ts'

class AnnouncerBench {
  readonly clock = new VirtualTime(1_000_000)
  readonly beats: { atMs: number; ids: string[] }[] = []
  readonly left: string[] = []
  readonly logged: string[] = []
  readonly refusedIds: string[] = []
  readonly instances: Instance[]
  readonly announcer: Announcer
  /** What the store does with a beat; a promise of the ids that it refuses. */
  renew: () => Promise<string[]> = () => Promise.resolve([])
  leave: (id: string) => Promise<void> = () => Promise.resolve()

  constructor(seed = 1, ids = ['a', 'b']) {
    const log: Log = (level, message) => void this.logged.push(`${level}: ${message}`)
    this.instances = ids.map((id) => instance(id))
    this.announcer = new Announcer({
      leases: {
        renew: async (given) => {
          this.beats.push({ atMs: this.clock.now(), ids: given.map(({ id }) => id) })
          const refused = await this.renew()
          return given.filter(({ id }) => refused.includes(id))
        },
        leave: async (service, id, incarnation) => {
          await this.leave(id)
          this.left.push(`${service} ${id} ${incarnation}`)
        },
      },
      clock: this.clock,
      random: seededRandom(seed),
      log,
      onRefused: (refused) => this.refusedIds.push(...refused.map(({ id }) => id)),
    }, this.instances)
  }

  get gapsMs(): number[] {
    return this.beats.slice(1).map(({ atMs }, i) => atMs - (this.beats[i]?.atMs ?? 0))
  }

  async close(): Promise<void> {
    await this.announcer.stop()
    assert.equal(this.clock.pending, 0, 'timers')
  }
}

const DOWN = () => Promise.reject(new RpcError('unavailable', 'Cannot reach the store'))
const { relayBeatMs, beatJitter, relayLeaseMs, redisTimeoutMs } = DEFAULTS

export const announcerSuite: Suite = {
  name: 'registry: announcer',
  cases: {
    'it registers all at once, and beats within the bounds of its jitter (seeded)': async () => {
      const gaps: number[] = []
      for (let seed = 1; seed <= 5; seed++) {
        const bench = new AnnouncerBench(seed)
        await bench.announcer.start()
        assert.deepEqual(bench.beats[0]?.ids, ['a', 'b'])
        await bench.clock.advance(100_000)
        gaps.push(...bench.gapsMs)
        await bench.close()
      }
      assert.isTrue(Math.min(...gaps) >= relayBeatMs * (1 - beatJitter))
      assert.isTrue(Math.max(...gaps) <= relayBeatMs * (1 + beatJitter))
      assert.isAbove(Math.max(...gaps) - Math.min(...gaps), relayBeatMs * beatJitter, 'beats do not line up')
      assert.isAbove(gaps.length, 90)
    },

    'it goes on through an outage, and says so': async () => {
      const bench = new AnnouncerBench()
      bench.renew = DOWN
      await bench.announcer.start()
      await bench.clock.advance(60_000)
      assert.isAtLeast(bench.beats.length, 13)
      assert.include(bench.logged, 'warn: heartbeat failed')
      bench.renew = () => Promise.resolve([])
      await bench.clock.advance(10_000)
      assert.deepEqual(bench.beats.at(-1)?.ids, ['a', 'b'])
      await bench.close()
    },

    'two beats that time out do not cost the lease': async () => {
      for (let seed = 1; seed <= 20; seed++) {
        const bench = new AnnouncerBench(seed)
        await bench.announcer.start()
        const confirmedMs = bench.clock.now()
        let failures = 2
        bench.renew = async () => {
          if (failures-- <= 0) return []
          await new Promise<void>((resolve) => bench.clock.after(redisTimeoutMs, resolve))
          return await DOWN()
        }
        await bench.clock.advance(2 * relayLeaseMs)
        // At most 6 s to the first that fails, then 4.41 s to each of the next: 14.82 s out of 15.
        const confirmedAgainMs = bench.beats[3]?.atMs ?? Infinity
        assert.isAtMost(confirmedAgainMs - confirmedMs, 2.97 * relayBeatMs)
        assert.isBelow(confirmedAgainMs - confirmedMs, relayLeaseMs)
        await bench.close()
      }
    },

    'a store that refuses, all beats or some of them, gets at most a fifth more for it (seeded)': async () => {
      for (const share of [0.5, 1]) {
        const bench = new AnnouncerBench(7)
        const random = seededRandom(13)
        bench.renew = () => random() < share ? DOWN() : Promise.resolve([])
        await bench.announcer.start()
        const beats = 2_000
        await bench.clock.advance(beats * relayBeatMs)
        assert.isAtMost(bench.beats.length / beats, 1.2, `${share} are refused`)
        assert.isAbove(bench.beats.length / beats, 1 + 0.12 * share)
        await bench.close()
      }
    },

    'a store slower than the beat is beaten one at a time, without a pause': async () => {
      const bench = new AnnouncerBench()
      let running = 0
      bench.renew = async () => {
        assert.equal(++running, 1)
        await new Promise<void>((resolve) => bench.clock.after(2 * relayBeatMs, resolve))
        running--
        return []
      }
      void bench.announcer.start()
      await bench.clock.advance(10 * relayBeatMs)
      assert.deepEqual(bench.gapsMs, [2, 2, 2, 2, 2].map((beats) => beats * relayBeatMs))
      await bench.announcer.stop()
      await bench.clock.advance(2 * relayBeatMs)
      assert.equal(bench.clock.pending, 0)
    },

    'stop leaves, and no beat follows': async () => {
      const bench = new AnnouncerBench()
      await bench.announcer.start()
      await bench.announcer.stop()
      assert.deepEqual(bench.left, ['demo.Hello a first', 'demo.Hello b first'])
      assert.equal(bench.clock.pending, 0)
      await bench.clock.advance(60_000)
      assert.equal(bench.beats.length, 1)
      await bench.announcer.stop()
      await bench.announcer.start()
      assert.equal(bench.left.length + bench.beats.length, 3, 'once stopped, it stays so')
      await bench.close()
    },

    'stopped while a beat is out, it leaves at once and starts no timer when the beat comes back': async () => {
      const bench = new AnnouncerBench()
      const held = Promise.withResolvers<string[]>()
      bench.renew = () => held.promise
      const started = bench.announcer.start()
      await bench.announcer.stop()
      assert.equal(bench.left.length, 2)
      // The store refuses a beat that comes after the goodbye: no reason to alarm anyone.
      held.resolve(['a', 'b'])
      await started
      assert.deepEqual(bench.refusedIds, [])
      assert.equal(bench.clock.pending, 0)
      await bench.close()
    },

    'a leave that fails keeps none of the others from leaving': async () => {
      const bench = new AnnouncerBench()
      await bench.announcer.start()
      bench.leave = (id) => id === 'a' ? DOWN() : Promise.resolve()
      await bench.announcer.stop()
      assert.deepEqual(bench.left, ['demo.Hello b first'])
      assert.include(bench.logged, 'warn: leave failed; the lease will run out')
      await bench.close()
    },

    'an instance whose life is over is announced no more, and that is said': async () => {
      const bench = new AnnouncerBench()
      await bench.announcer.start()
      bench.renew = () => Promise.resolve(['a'])
      await bench.clock.advance(relayBeatMs * (1 + beatJitter))
      assert.deepEqual(bench.refusedIds, ['a'])
      assert.include(bench.logged, 'error: lease refused: this life is over')
      bench.renew = () => Promise.resolve([])
      await bench.clock.advance(relayBeatMs * (1 + beatJitter))
      assert.deepEqual(bench.beats.at(-1)?.ids, ['b'])
      await bench.announcer.stop()
      // Its goodbye would be ignored: it belongs to the successor.
      assert.deepEqual(bench.left, ['demo.Hello b first'])
      await bench.close()
    },

    'when all lives are over, it stops beating': async () => {
      const bench = new AnnouncerBench()
      bench.renew = () => Promise.resolve(['a', 'b'])
      await bench.announcer.start()
      assert.equal(bench.clock.pending, 0)
      assert.deepEqual(bench.refusedIds, ['a', 'b'])
      await bench.close()
    },

    'started twice, it beats once': async () => {
      const bench = new AnnouncerBench()
      await Promise.all([bench.announcer.start(), bench.announcer.start()])
      assert.equal(bench.beats.length, 1)
      assert.equal(bench.clock.pending, 1)
      await bench.close()
    },
  },
}
