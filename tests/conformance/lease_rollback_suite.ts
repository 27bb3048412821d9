import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import type { LeaseStore, Listing } from '../../shared/stores/lease_store.ts'
import type { Suite } from '../suite.ts'
import { instance } from '../unit/stores/instances.ts'
import { harnessed } from './harnessed.ts'

export interface RollbackHarness {
  /** Another object after going back. */
  readonly store: LeaseStore
  /** Takes a snapshot of the data. @returns goes back to it */
  snapshot(): Promise<() => Promise<void>>
  close(): Promise<void>
}

/** What every LeaseStore must let its readers see after it went back to a snapshot: see Listing. */
export function leaseRollbackSuite(name: string, open: () => Promise<RollbackHarness>): Suite {
  return {
    name: `leases after a rollback: ${name}`,
    cases: harnessed(open, cases),
  }
}

async function look(store: LeaseStore): Promise<Exclude<Listing, { unchanged: true }>> {
  const listing = await store.list('demo.Hello')
  if ('unchanged' in listing) throw new Error('A listing that asked about no revision must hold the table')
  return listing
}

const cases: Record<string, (harness: RollbackHarness) => Promise<void>> = {
  'names the revisions there have been, this one last, of each service by itself': async ({ store }) => {
    expect((await look(store)).recent ?? []).to.deep.equal([])
    const revisions: number[] = []
    for (const id of ['a', 'b', 'c']) {
      await store.renew([instance({ id })])
      await store.renew([instance({ id, service: 'demo.Other' }), instance({ id: 'a' })])
      revisions.push((await look(store)).revision)
    }
    expect((await look(store)).recent).to.deep.equal(revisions)
    await store.leave('demo.Hello', 'b', 'first')
    const { revision, recent } = await look(store)
    expect(recent).to.deep.equal([...revisions, revision])
  },
  'does not know the revisions any more that it gave out after a snapshot, though beats have raised it': async (
    harness,
  ) => {
    await harness.store.renew([instance({ id: 'a' })])
    const { revision: kept } = await look(harness.store)
    const goBack = await harness.snapshot()
    await harness.store.renew([instance({ id: 'lost' })])
    const { revision: lost } = await look(harness.store)
    await goBack()
    await harness.store.renew([instance({ id: 'b' })])
    const { revision, recent = [], instances } = await look(harness.store)
    expect(instances.map(({ id }) => id)).to.deep.equal(['a', 'b'])
    expect(revision).to.be.above(lost)
    expect(recent).to.include(kept).and.to.include(revision)
    expect(recent).not.to.include(lost)
    expect(recent[0]).to.be.at.most(lost)
  },
  'remembers a bounded number of revisions': async ({ store }) => {
    for (let weight = 1; weight <= LIMITS.maxRecentRevisions + 5; weight++) await store.renew([instance({ weight })])
    const { revision, recent = [] } = await look(store)
    expect(recent).to.have.length(LIMITS.maxRecentRevisions)
    expect(recent.at(-1)).to.equal(revision)
    expect(recent).to.deep.equal([...recent].sort((a, b) => a - b))
  },
}
