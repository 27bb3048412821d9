import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import { eventually } from './expectations.ts'
import { gone, ids, instance, type LeaseCases, LONG_MS, revision, seeBriefly, table } from './lease_harness.ts'

export const expiryCases: LeaseCases = {
  'drops an expired lease and raises the revision': async (harness) => {
    const { store } = harness
    await store.renew([instance({ id: 'lasting' })])
    const before = await seeBriefly(harness, { id: 'brief' })
    await gone(harness, 'brief')
    expect(await ids(store)).to.deep.equal(['lasting'])
    expect(await revision(store)).to.be.above(before)
    expect(await store.list('demo.Hello', before)).to.have.property('instances').with.length(1)
  },
  'names no service whose last lease has expired': async (harness) => {
    const { store, shortTtlMs } = harness
    await store.renew([
      instance({ service: 'demo.Brief', ttlMs: shortTtlMs }),
      instance({ service: 'demo.Lasting' }),
    ])
    await eventually(async () => (await store.services()).length === 1, harness.elapse)
    expect(await store.services()).to.deep.equal(['demo.Lasting'])
    // A new beat names it again.
    await store.renew([instance({ service: 'demo.Brief' })])
    expect(await store.services()).to.deep.equal(['demo.Brief', 'demo.Lasting'])
  },
  'names a service for as long as one of its leases lasts': async (harness) => {
    const { store, shortTtlMs } = harness
    await store.renew([instance({ id: 'lasting' })])
    await store.renew([instance({ id: 'brief', ttlMs: shortTtlMs })])
    await gone(harness, 'brief')
    expect(await store.services()).to.deep.equal(['demo.Hello'])
  },
  'names no service whose lasting instance left before the brief one expired': async (harness) => {
    const { store, shortTtlMs } = harness
    await store.renew([instance({ id: 'lasting' }), instance({ id: 'brief', ttlMs: shortTtlMs })])
    await store.leave('demo.Hello', 'lasting', 'first')
    await eventually(async () => (await store.services()).length === 0, harness.elapse)
  },
  'takes an expired instance back with its next beat': async (harness) => {
    const { store } = harness
    await seeBriefly(harness, {})
    await gone(harness, 'a')
    const empty = await revision(store)
    expect(await store.renew([instance()])).to.deep.equal([])
    expect(await ids(store)).to.deep.equal(['a'])
    expect(await revision(store)).to.be.above(empty)
  },
  'moves the end of a lease with each beat': async (harness) => {
    const { store } = harness
    const brief = await seeBriefly(harness, {})
    await store.renew([instance({ ttlMs: LONG_MS })])
    await store.renew([instance({ id: 'marker', ttlMs: harness.shortTtlMs })])
    await gone(harness, 'marker')
    expect(await ids(store)).to.deep.equal(['a'])
    expect(await revision(store)).to.be.above(brief)
  },
}

export const incarnationCases: LeaseCases = {
  'lets a restarted instance replace its former life': async ({ store }) => {
    await store.renew([instance({ incarnation: 'first' })])
    expect(await store.renew([instance({ incarnation: 'second' })])).to.deep.equal([])
    expect((await table(store)).map((entry) => entry.incarnation)).to.deep.equal(['second'])
  },
  'refuses the beat of a superseded life': async ({ store, other }) => {
    const zombie = instance({ incarnation: 'first', zone: 'stale' })
    await store.renew([zombie])
    await store.renew([instance({ incarnation: 'second' })])
    const before = await revision(store)
    expect(await other.renew([zombie, instance({ id: 'b' })])).to.deep.equal([zombie])
    expect((await table(store)).map(({ id, incarnation, zone }) => [id, incarnation, zone])).to.deep.equal([
      ['a', 'second', 'north'],
      ['b', 'first', 'north'],
    ])
    const withB = await revision(store)
    expect(withB).to.be.above(before)
    await other.renew([zombie])
    expect(await store.list('demo.Hello', withB)).to.deep.equal({ revision: withB, unchanged: true })
  },
  'ignores the goodbye of a superseded life, or of one never met': async ({ store }) => {
    await store.renew([instance({ incarnation: 'first' })])
    await store.renew([instance({ incarnation: 'second' })])
    const before = await revision(store)
    await store.leave('demo.Hello', 'a', 'first')
    await store.leave('demo.Hello', 'a', 'third')
    expect(await store.list('demo.Hello', before)).to.deep.equal({ revision: before, unchanged: true })
    expect(await ids(store)).to.deep.equal(['a'])
    // The goodbye that was ignored has not ended a life that is yet to come.
    expect(await store.renew([instance({ incarnation: 'third' })])).to.deep.equal([])
  },
  'refuses a beat that arrives after its goodbye': async ({ store }) => {
    await store.renew([instance()])
    await store.leave('demo.Hello', 'a', 'first')
    expect(await store.renew([instance()])).to.deep.equal([instance()])
    expect(await ids(store)).to.deep.equal([])
    expect(await store.renew([instance({ incarnation: 'second' })])).to.deep.equal([])
    expect(await ids(store)).to.deep.equal(['a'])
    expect(await store.renew([instance()])).to.deep.equal([instance()])
  },
  'refuses a first beat that its goodbye overtook': async ({ store }) => {
    await store.leave('demo.Hello', 'a', 'first')
    expect(await store.renew([instance()])).to.deep.equal([instance()])
    expect(await ids(store)).to.deep.equal([])
  },
  'refuses a life whose successor came and went': async (harness) => {
    const { store } = harness
    await store.renew([instance({ incarnation: 'first' })])
    await seeBriefly(harness, { incarnation: 'second' })
    await gone(harness, 'a')
    const zombie = instance({ incarnation: 'first' })
    expect(await store.renew([zombie])).to.deep.equal([zombie])
    expect(await ids(store)).to.deep.equal([])
    expect(await store.renew([instance({ incarnation: 'second' })])).to.deep.equal([])
  },
  'refuses a life that expired before its successor came': async (harness) => {
    const { store } = harness
    await seeBriefly(harness, { incarnation: 'first' })
    await gone(harness, 'a')
    await store.renew([instance({ incarnation: 'second' })])
    const zombie = instance({ incarnation: 'first' })
    expect(await store.renew([zombie])).to.deep.equal([zombie])
    expect((await table(store)).map((entry) => entry.incarnation)).to.deep.equal(['second'])
  },
  'remembers a bounded number of past lives': async ({ store }) => {
    for (let life = 0; life <= LIMITS.maxPastLives + 1; life++) {
      await store.renew([instance({ incarnation: `life ${life}` })])
    }
    const remembered = instance({ incarnation: 'life 1' })
    expect(await store.renew([remembered])).to.deep.equal([remembered])
    expect(await store.renew([instance({ incarnation: 'life 0' })])).to.deep.equal([])
  },
  'has lives of their own for equal ids of different services': async ({ store }) => {
    await store.renew([instance({ service: 'demo.One' }), instance({ service: 'demo.Two' })])
    await store.leave('demo.One', 'a', 'first')
    expect(await store.renew([instance({ service: 'demo.Two' })])).to.deep.equal([])
    expect(await ids(store, 'demo.Two')).to.deep.equal(['a'])
  },
}

export const lossCases: LeaseCases = {
  'is filled again by beats after losing everything, and no reader takes that for unchanged': async (harness) => {
    await harness.store.renew([instance({ id: 'a' }), instance({ id: 'b' })])
    await harness.store.leave('demo.Hello', 'b', 'first')
    const before = await revision(harness.store)
    await harness.elapse(2)
    await harness.wipe()
    // As many changes as before the loss: a counter that began at 0 again would stand where it stood.
    await harness.store.renew([instance({ id: 'b' })])
    await harness.store.renew([instance({ id: 'c' })])
    for (const reader of [harness.store, harness.other]) {
      const listing = await reader.list('demo.Hello', before)
      expect(listing.revision).to.be.above(before)
      expect('instances' in listing && listing.instances.map((entry) => entry.id)).to.deep.equal(['b', 'c'])
    }
    expect(await harness.store.services()).to.deep.equal(['demo.Hello'])
  },
  'shows a reader that everything is lost': async (harness) => {
    await harness.store.renew([instance()])
    const before = await revision(harness.store)
    await harness.wipe()
    expect(await harness.store.list('demo.Hello', before)).to.deep.equal({ revision: 0, instances: [] })
  },
}
