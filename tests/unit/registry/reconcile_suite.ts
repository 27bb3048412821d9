import { assert } from 'chai'
import { type Known, reconcile } from '../../../shared/registry/reconcile.ts'
import type { LeasedInstance, Listing } from '../../../shared/stores/lease_store.ts'
import type { Suite } from '../../suite.ts'
import { instance } from '../routing/instances.ts'

const TTL_MS = 15_000

/** A caller's knowledge as it looks at the store again and again. */
class Caller {
  nowMs = 100_000
  known: Known | undefined
  revision = 5_000
  bornAtMs: number | undefined = 1

  /** A look at a table of these ids, or at these instances. */
  sees(...rows: (string | LeasedInstance)[]): string {
    const instances = rows.map((row) => typeof row === 'string' ? instance(row) : row)
    return this.hears({ revision: ++this.revision, instances, bornAtMs: this.bornAtMs })
  }

  hears(listing: Listing, tookMs = 0): string {
    const askedAtMs = this.nowMs
    this.nowMs += tookMs
    this.known = reconcile(this.known, listing, { askedAtMs, answeredAtMs: this.nowMs })
    return this.ids
  }

  hearsNothingNew(): string {
    return this.hears({ revision: this.known?.revision ?? 0, unchanged: true })
  }

  get ids(): string {
    return (this.known?.instances ?? []).map(({ id }) => id).join(' ')
  }

  later(ms: number): this {
    this.nowMs += ms
    return this
  }

  /** The store starts anew, knowing nothing. */
  loses(): this {
    this.bornAtMs = this.nowMs
    return this
  }
}

const old = (id: string, ageMs: number) => instance(id, { ageMs })

export const reconcileSuite: Suite = {
  name: 'registry: a table and its news',
  cases: {
    'news replaces what was known; silence changes nothing': () => {
      const caller = new Caller()
      assert.equal(caller.sees('a', 'b'), 'a b')
      assert.equal(caller.later(1_000).sees('b', 'c'), 'b c')
      const { known } = caller
      assert.equal(caller.later(1_000).hearsNothingNew(), 'b c')
      assert.strictEqual(caller.known?.instances, known?.instances)
      assert.equal(caller.known?.confirmedAtMs, caller.nowMs)
      assert.equal(caller.sees(), '')
      assert.equal(new Caller().hearsNothingNew(), '')
    },

    'a store that knows nothing any more empties no table for the length of a lease': () => {
      const caller = new Caller()
      caller.sees('a', 'b')
      caller.loses().later(1_000)
      assert.equal(caller.hears({ revision: 0, instances: [] }), 'a b')
      const { known } = caller
      assert.equal(caller.later(1_000).hearsNothingNew(), 'a b')
      assert.strictEqual(caller.known?.instances, known?.instances)
      assert.equal(caller.later(TTL_MS - 1_001).hearsNothingNew(), 'a b')
      assert.equal(caller.later(1).hearsNothingNew(), '')
    },

    'a store that is filled again by beats replaces the kept one by one': () => {
      const caller = new Caller()
      caller.sees('a', 'b', 'c')
      caller.loses().later(1_000)
      assert.equal(caller.sees('b'), 'b a c')
      assert.equal(caller.later(2_000).sees('b', 'c'), 'b c a')
      assert.equal(caller.later(2_000).sees('a', 'b', 'c'), 'a b c')
      assert.equal(caller.known?.keptUntilMs.size, 0)
      // From then on a leave is a leave.
      assert.equal(caller.later(1_000).sees('a', 'c'), 'a c')
    },

    'what left after the loss is dropped when its lease would have ended, and no later for a second loss': () => {
      const caller = new Caller()
      caller.sees('a', 'b')
      caller.loses()
      assert.equal(caller.sees('a'), 'a b')
      caller.later(TTL_MS - 1).loses()
      assert.equal(caller.sees('a'), 'a b')
      assert.equal(caller.later(1).sees('a'), 'a')
    },

    'a revision that goes back is a loss too': () => {
      const caller = new Caller()
      caller.sees('a', 'b')
      caller.revision -= 100
      assert.equal(caller.later(1_000).sees('a'), 'a b')
    },

    'a revision that was given out and is forgotten is a loss, though a beat has raised it since': () => {
      const caller = new Caller()
      caller.revision = 10
      caller.hears({ revision: 10, instances: [instance('a'), instance('b')], bornAtMs: 1, recent: [7, 9, 10] })
      const later = (revision: number, recent: number[], ...ids: string[]) =>
        caller.hears({ revision, instances: ids.map((id) => instance(id)), bornAtMs: 1, recent })
      // As far as is known: what is older than all that is remembered may have been given out.
      assert.equal(later(12, [11, 12], 'a', 'b'), 'a b')
      assert.equal(later(13, [11, 12, 13], 'a'), 'a')
      assert.equal(later(14, [11, 12, 13, 14], 'a', 'b'), 'a b')
      assert.equal(later(16, [11, 12, 13, 16], 'a'), 'a b')
      assert.equal(later(17, [11, 12, 13, 16, 17], 'a'), 'a b')
      caller.later(TTL_MS)
      assert.equal(later(18, [13, 16, 17, 18], 'a'), 'a')
    },

    'one that comes back from a snapshot without a beat is not believed, and the table is read until it beats': () => {
      const caller = new Caller()
      caller.sees('a', 'b', 'dead')
      caller.later(1_000).sees('a', 'b')
      caller.later(1_000)
      assert.equal(caller.sees('a', 'b', old('dead', 3_000)), 'a b')
      assert.isTrue(caller.known?.mustRead)
      assert.equal(caller.later(1_000).sees('a', 'b', old('dead', 4_000)), 'a b')
      assert.isTrue(caller.known?.mustRead)
      // It lives after all.
      assert.equal(caller.later(1_000).sees('a', 'b', old('dead', 900)), 'a b dead')
      assert.isFalse(caller.known?.mustRead)
    },

    'one that registered since the last look is believed, however long that is ago and the answer takes': () => {
      const caller = new Caller()
      caller.sees('a')
      assert.equal(caller.later(60_000).sees('a', old('new', 59_999)), 'a new')
      caller.later(1_000)
      caller.hears({
        revision: ++caller.revision,
        instances: [instance('a'), instance('new'), old('slow', 2_900)],
        bornAtMs: 1,
      }, 2_000)
      assert.equal(caller.ids, 'a new slow')
    },

    'those who were known stay, though a clock leaps and all look old': () => {
      const caller = new Caller()
      caller.sees('a', 'b')
      assert.equal(caller.later(1_000).sees(old('a', 3_600_000), old('b', 3_600_000)), 'a b')
      assert.isFalse(caller.known?.mustRead)
    },

    'one that registered since the last look is believed though a clock leapt and it looks old': () => {
      const caller = new Caller()
      const at = (readAtMs: number, ...instances: LeasedInstance[]) =>
        caller.later(1_000).hears({ revision: ++caller.revision, bornAtMs: 1, readAtMs, instances })
      assert.equal(at(50_000, instance('a')), 'a')
      assert.equal(at(3_651_000, old('a', 3_600_500), old('new', 3_600_500)), 'a new')
      assert.equal(at(3_652_000, old('a', 1_000), old('new', 1_000), old('dead', 20_000)), 'a new')
      // Back again: then the caller's own clock counts.
      assert.equal(at(50_000, instance('a'), instance('new'), old('newer', 900)), 'a new newer')
    },

    'where there is no other, one is believed without a beat': () => {
      const caller = new Caller()
      caller.sees()
      assert.equal(caller.later(1_000).sees(old('a', 50_000)), 'a')
      assert.isFalse(caller.known?.mustRead)
    },

    'the first look takes everything': () => {
      const caller = new Caller()
      assert.equal(caller.sees(old('a', 50_000), 'b'), 'a b')
    },

    'a service that comes into being is no loss': () => {
      const caller = new Caller()
      caller.hears({ revision: 0, instances: [] })
      assert.equal(caller.later(1_000).sees('a'), 'a')
      assert.equal(caller.known?.keptUntilMs.size, 0)
    },
  },
}
