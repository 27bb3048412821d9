import { expect } from 'chai'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import {
  type Instance,
  type LeasedInstance,
  type LeaseStore,
  LONGEST_BEAT_SHARE,
  suspectAfterMs,
} from '../../shared/stores/lease_store.ts'
import type { Suite } from '../suite.ts'
import { instance } from '../unit/stores/instances.ts'
import { harnessed } from './harnessed.ts'

export interface PreservationHarness {
  readonly store: LeaseStore
  /** Lets time pass while readers look. Leases here are so long that real time going by makes no difference. */
  elapse(ms: number): Promise<void>
  /** Makes the store's clock leap forward, or back where `ms` is below 0. */
  leap(ms: number): Promise<void>
  close(): Promise<void>
}

/** What every LeaseStore must do when instances fall silent: see lease_store.ts. */
export function leasePreservationSuite(name: string, open: () => Promise<PreservationHarness>): Suite {
  return {
    name: `self-preservation: ${name}`,
    cases: harnessed(open, cases),
  }
}

const LEASE_MS = 600_000
const SUSPECT_MS = suspectAfterMs(LEASE_MS)
/** Longer than a test takes. */
const MOMENT_MS = 60_000

function some(count: number, from = 0, fields: Partial<Instance> = {}): Instance[] {
  return Array.from({ length: count }, (_, i) => instance({ id: `i${from + i}`, ttlMs: LEASE_MS, ...fields }))
}

async function table(store: LeaseStore): Promise<LeasedInstance[]> {
  const listing = await store.list('demo.Hello')
  return 'instances' in listing ? listing.instances : []
}

const count = async (store: LeaseStore) => (await table(store)).length

const suspects = async (store: LeaseStore) =>
  (await table(store)).filter(({ ageMs, ttlMs }) => ageMs >= suspectAfterMs(ttlMs)).map(({ id }) => id).sort()

const unchanged = async (store: LeaseStore, revision: number) => 'unchanged' in await store.list('demo.Hello', revision)

/** Beats of all for as long, each three times a lease. */
async function beat(
  { store, elapse }: PreservationHarness,
  instances: readonly Instance[],
  forMs: number,
): Promise<void> {
  for (let ms = 0; ms < forMs; ms += LEASE_MS / 3) {
    await elapse(Math.min(LEASE_MS / 3, forMs - ms))
    await store.renew(instances)
  }
}

const cases: Record<string, (harness: PreservationHarness) => Promise<void>> = {
  'tells readers of a suspect, once, and when it beats again': async ({ store, elapse }) => {
    await store.renew(some(10))
    const { revision: sound } = await store.list('demo.Hello')
    await elapse(SUSPECT_MS - MOMENT_MS)
    await store.renew(some(9))
    expect(await unchanged(store, sound)).to.equal(true)
    await elapse(MOMENT_MS)
    expect(await suspects(store)).to.deep.equal(['i9'])
    const { revision: suspected } = await store.list('demo.Hello')
    expect(suspected).to.be.above(sound)
    await store.renew(some(9))
    expect(await unchanged(store, suspected)).to.equal(true)
    await store.renew(some(1, 9))
    expect(await suspects(store)).to.deep.equal([])
    const { revision: back } = await store.list('demo.Hello')
    expect(back).to.be.above(suspected)
    await store.renew(some(10))
    expect(await unchanged(store, back)).to.equal(true)
  },
  'evicts at the end of their lease as many as leave 85 % beating': async ({ store, elapse }) => {
    await store.renew(some(20))
    await elapse(LEASE_MS / 2)
    await store.renew(some(17))
    await elapse(LEASE_MS / 2 - MOMENT_MS)
    await store.renew(some(17))
    expect(await count(store)).to.equal(20)
    await elapse(MOMENT_MS)
    expect(await count(store)).to.equal(17)
  },
  'holds them back when one more falls silent': async ({ store, elapse }) => {
    await store.renew(some(20))
    await elapse(LEASE_MS / 2)
    await store.renew(some(16))
    await elapse(LEASE_MS / 2)
    await store.renew(some(16))
    expect(await count(store)).to.equal(20)
    expect(await suspects(store)).to.deep.equal(['i16', 'i17', 'i18', 'i19'])
  },
  'empties no table when its clock leaps, and none is lost that beats': async (harness) => {
    const { store, leap, elapse } = harness
    await store.renew(some(5))
    const { revision } = await store.list('demo.Hello')
    await leap(3_600_000)
    const leapt = await table(store)
    expect(leapt.map(({ id }) => id)).to.deep.equal(['i0', 'i1', 'i2', 'i3', 'i4'])
    expect(Math.min(...leapt.map(({ ageMs }) => ageMs))).to.be.at.least(3_600_000)
    expect(await unchanged(store, revision)).to.equal(false)
    // They beat again one by one.
    for (let i = 0; i < 5; i++) {
      await store.renew(some(1, i))
      expect(await count(store)).to.equal(5)
      await elapse(LEASE_MS / 15)
    }
    await beat(harness, some(5), 6 * LEASE_MS)
    expect(await suspects(store)).to.deep.equal([])
    expect(await count(store)).to.equal(5)
  },
  'empties no table however often its clock leaps before they have beaten again': async ({ store, leap }) => {
    await store.renew(some(5))
    for (let i = 0; i < DEFAULTS.leaseHoldFactor / LONGEST_BEAT_SHARE - 1; i++) {
      await leap(3_600_000)
      expect(await count(store)).to.equal(5)
    }
    await store.renew(some(5))
    await leap(3_600_000)
    await store.renew(some(1))
    expect(await count(store)).to.equal(5)
  },
  'keeps those whom a network cut off when its clock leaps, and presumes them dead no sooner for it': async (
    harness,
  ) => {
    const { store, leap, elapse } = harness
    await store.renew(some(10))
    await beat(harness, some(3), 2 * LEASE_MS)
    expect(await count(store)).to.equal(10)
    await leap(3_600_000)
    expect(await count(store)).to.equal(10)
    await store.renew(some(3))
    expect(await count(store)).to.equal(10)
    await beat(harness, some(3), LEASE_MS)
    expect(await count(store)).to.equal(10)
    await beat(harness, some(3), 3 * LEASE_MS)
    await elapse(MOMENT_MS)
    expect(await count(store)).to.equal(3)
  },
  'evicts at the same time though its clock goes back': async (harness) => {
    const { store, leap, elapse } = harness
    await store.renew(some(10))
    await beat(harness, some(9), LEASE_MS / 3)
    await leap(-3_600_000)
    await store.renew(some(9))
    expect(Math.max(...(await table(store)).map(({ ageMs }) => ageMs))).to.be.at.least(LEASE_MS / 3)
    await beat(harness, some(9), LEASE_MS * 2 / 3 - MOMENT_MS)
    expect(await count(store)).to.equal(10)
    await elapse(2 * MOMENT_MS)
    expect(await count(store)).to.equal(9)
  },
  'keeps a single instance too, for four leases more': async (harness) => {
    const { store, elapse } = harness
    await store.renew(some(1))
    await elapse(LEASE_MS)
    expect(await count(store)).to.equal(1)
    await elapse(DEFAULTS.leaseHoldFactor * LEASE_MS - MOMENT_MS)
    expect(await count(store)).to.equal(1)
    await elapse(LEASE_MS + MOMENT_MS)
    expect(await count(store)).to.equal(0)
  },
  'evicts those that stay silent one lease after the others beat again': async (harness) => {
    const { store, elapse } = harness
    await store.renew(some(10))
    await elapse(2 * LEASE_MS)
    expect(await count(store)).to.equal(10)
    await store.renew(some(9))
    expect(await count(store)).to.equal(10)
    await beat(harness, some(9), LEASE_MS - MOMENT_MS)
    expect(await count(store)).to.equal(10)
    await elapse(2 * MOMENT_MS)
    expect(await count(store)).to.equal(9)
  },
  'presumes dead what has been held back for three leases, so that eviction thaws': async (harness) => {
    const { store } = harness
    await store.renew(some(10))
    // Six of ten die: 40 % beat, which looks like a network that drops.
    await beat(harness, some(4), LEASE_MS)
    expect(await count(store)).to.equal(10)
    await beat(harness, some(4), DEFAULTS.leaseHoldFactor * LEASE_MS - MOMENT_MS)
    expect(await count(store)).to.equal(10)
    await beat(harness, some(4), LEASE_MS + 2 * MOMENT_MS)
    expect((await table(store)).map(({ id }) => id)).to.deep.equal(['i0', 'i1', 'i2', 'i3'])
  },
  'evicts nobody while most beats are lost, however long': async (harness) => {
    const { store, elapse } = harness
    await store.renew(some(12))
    // Of each instance every fourth beat arrives: its lease is over for a quarter of the time.
    for (let i = 0; i < 60; i++) {
      await elapse(LEASE_MS / 3)
      await store.renew(some(12).filter((_, n) => (n + i) % 4 === 0))
      expect(await count(store)).to.equal(12)
    }
  },
  'holds back no goodbye, and counts on it no more': async (harness) => {
    const { store, elapse } = harness
    await store.renew(some(16))
    await beat(harness, some(8), LEASE_MS)
    expect(await count(store)).to.equal(16)
    for (const { id } of some(8, 8)) await store.leave('demo.Hello', id, 'first')
    expect((await table(store)).map(({ id }) => id)).to.deep.equal(some(8).map(({ id }) => id))
    // Seven of eight are enough, once the time of too few is a lease ago.
    await beat(harness, some(7), LEASE_MS)
    await elapse(MOMENT_MS)
    expect(await count(store)).to.equal(7)
  },
  'counts nobody as beating who said goodbye': async ({ store, elapse }) => {
    await store.renew(some(10))
    await elapse(LEASE_MS / 2)
    await store.renew(some(7))
    for (const { id } of some(6, 1)) await store.leave('demo.Hello', id, 'first')
    // One of four beats.
    await elapse(LEASE_MS / 2)
    expect(await count(store)).to.equal(4)
  },
  'counts nobody as dead who is evicted already': async (harness) => {
    const { store, elapse } = harness
    await store.renew(some(10))
    await beat(harness, some(4), 6 * LEASE_MS)
    expect(await count(store)).to.equal(4)
    await store.renew(some(10, 20))
    await elapse(LEASE_MS / 2)
    await store.renew(some(7, 20))
    await elapse(LEASE_MS / 2)
    expect(await count(store)).to.equal(14)
  },
  'starts a lease anew for one that was held back': async (harness) => {
    const { store, elapse } = harness
    await store.renew(some(3))
    await elapse(LEASE_MS)
    expect(await count(store)).to.equal(3)
    // After three leases it would have been presumed dead; its beat ends that.
    await elapse(2 * LEASE_MS)
    await store.renew(some(1))
    await elapse(2 * LEASE_MS)
    expect((await table(store)).map(({ id }) => id)).to.include('i0')
  },
  'judges each service by itself, and each lease by its length': async ({ store, elapse }) => {
    const ttlMs = LEASE_MS / 4
    await store.renew([...some(4, 0, { ttlMs }), ...some(20, 0, { service: 'demo.Other' })])
    await elapse(ttlMs)
    expect(await count(store)).to.equal(4)
    await elapse(DEFAULTS.leaseHoldFactor * ttlMs - MOMENT_MS)
    expect(await count(store)).to.equal(4)
    await elapse(ttlMs + MOMENT_MS)
    expect(await count(store)).to.equal(0)
    const other = await store.list('demo.Other')
    expect('instances' in other && other.instances.length).to.equal(20)
  },
  'names the time when it first heard of a service, until it loses it': async ({ store, elapse }) => {
    const bornAtMs = async (service: string) => {
      const listing = await store.list(service)
      return 'instances' in listing ? listing.bornAtMs : undefined
    }
    expect(await bornAtMs('demo.Hello')).to.equal(undefined)
    await store.renew(some(2))
    const born = await bornAtMs('demo.Hello')
    expect(born).to.be.above(0)
    await elapse(MOMENT_MS)
    await store.renew(some(3))
    for (const { id } of some(3)) await store.leave('demo.Hello', id, 'first')
    expect(await bornAtMs('demo.Hello')).to.equal(born)
    await store.renew([...some(1, 7), ...some(1, 0, { service: 'demo.Later' })])
    expect(await bornAtMs('demo.Hello')).to.equal(born)
    expect(await bornAtMs('demo.Later')).to.be.at.least(born ?? 0)
  },
}
