import { expect } from 'chai'
import type { Instance } from '../../shared/stores/lease_store.ts'
import { ids, instance, type LeaseCases, LONG_MS, revision, table } from './lease_harness.ts'

export const tableCases: LeaseCases = {
  'lists what was registered, in order of id': async ({ store }) => {
    const first = instance({ id: 'b' })
    const second = instance({ id: 'a', address: { kind: 'relay', name: 'relay-7' }, weight: 2.5, zone: '' })
    expect(await store.renew([first, second])).to.deep.equal([])
    const entries = await table(store)
    expect(entries.map(({ ageMs: _, ...rest }) => rest)).to.deep.equal([second, first])
    for (const { ageMs } of entries) expect(ageMs).to.be.at.least(0).and.below(LONG_MS)
  },
  'knows nothing of a service never registered': async ({ store }) => {
    expect(await store.list('demo.Unknown')).to.deep.equal({ revision: 0, instances: [] })
    expect(await store.list('demo.Unknown', 0)).to.deep.equal({ revision: 0, unchanged: true })
    expect(await store.services()).to.deep.equal([])
  },
  'takes an empty batch': async ({ store }) => {
    expect(await store.renew([])).to.deep.equal([])
  },
  'removes an instance that leaves, at once': async ({ store }) => {
    await store.renew([instance({ id: 'a' }), instance({ id: 'b' })])
    await store.leave('demo.Hello', 'a', 'first')
    expect(await ids(store)).to.deep.equal(['b'])
    await store.leave('demo.Hello', 'b', 'first')
    expect(await ids(store)).to.deep.equal([])
    expect(await store.services()).to.deep.equal([])
  },
  'keeps services of one batch apart': async ({ store }) => {
    const batch = [
      instance({ service: 'demo.One', id: 'x' }),
      instance({ service: 'demo.Two', id: 'x', version: '2.0.0' }),
      instance({ service: 'demo.One', id: 'y' }),
      instance({ service: 'demo.Three', id: 'z' }),
    ]
    await store.renew(batch)
    expect(await store.services()).to.deep.equal(['demo.One', 'demo.Three', 'demo.Two'])
    expect(await ids(store, 'demo.One')).to.deep.equal(['x', 'y'])
    expect((await table(store, 'demo.Two')).map((entry) => entry.version)).to.deep.equal(['2.0.0'])

    const untouched = await revision(store, 'demo.One')
    await store.leave('demo.Two', 'x', 'first')
    expect(await ids(store, 'demo.One')).to.deep.equal(['x', 'y'])
    expect(await store.list('demo.One', untouched)).to.deep.equal({ revision: untouched, unchanged: true })
    expect(await store.services()).to.deep.equal(['demo.One', 'demo.Three'])
  },
  'takes the last record of an instance named twice in a batch': async ({ store }) => {
    await store.renew([instance({ weight: 1 }), instance({ weight: 2 })])
    expect((await table(store)).map((entry) => entry.weight)).to.deep.equal([2])
  },
}

export const revisionCases: LeaseCases = {
  'raises no revision for a mere renewal': async ({ store, other, elapse }) => {
    await store.renew([instance(), instance({ id: 'b' })])
    const before = await revision(store)
    expect(before).to.be.above(0)
    for (let beat = 0; beat < 3; beat++) {
      await elapse(2)
      await store.renew([instance(), instance({ id: 'b' })])
      await other.renew([instance({ id: 'b' })])
    }
    expect(await store.list('demo.Hello', before)).to.deep.equal({ revision: before, unchanged: true })
  },
  'raises the revision for every visible change': async ({ store }) => {
    await store.renew([instance()])
    const changes: Partial<Instance>[] = [
      { version: '1.2.4' },
      { group: 'canary' },
      { address: { kind: 'url', url: 'https://elsewhere.example/' } },
      { address: { kind: 'relay', name: 'https://elsewhere.example/' } },
      { ttlMs: LONG_MS + 1 },
      { weight: 0 },
      { zone: 'south' },
      { incarnation: 'second' },
      { id: 'another', incarnation: 'second' },
    ]
    for (const change of changes) {
      const before = await revision(store)
      const changed = instance({ incarnation: change.incarnation ?? 'first', ...change })
      await store.renew([changed])
      const listing = await store.list('demo.Hello', before)
      expect(listing.revision, JSON.stringify(change)).to.be.above(before)
      const { ageMs: _, ...entry } = (await table(store)).find(({ id }) => id === changed.id) ?? { ageMs: 0 }
      expect(entry).to.deep.equal(changed)
    }
  },
  'raises the revision for a goodbye, but not for one without effect': async ({ store }) => {
    await store.renew([instance()])
    const before = await revision(store)
    await store.leave('demo.Hello', 'unknown', 'first')
    expect(await store.list('demo.Hello', before)).to.deep.equal({ revision: before, unchanged: true })
    await store.leave('demo.Hello', 'a', 'first')
    expect(await revision(store)).to.be.above(before)
  },
  'gives the table to whoever asks about another revision, higher ones too': async ({ store }) => {
    await store.renew([instance()])
    const now = await revision(store)
    for (const asked of [0, 1, now - 1, now + 1, Number.MAX_SAFE_INTEGER, -1, 0.5]) {
      expect(await store.list('demo.Hello', asked), String(asked)).to.have.property('instances').with.length(1)
    }
  },
}
