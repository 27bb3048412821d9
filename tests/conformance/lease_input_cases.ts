import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Instance } from '../../shared/stores/lease_store.ts'
import { refusal } from './expectations.ts'
import { ids, instance, type LeaseCases, revision, table } from './lease_harness.ts'

/** Text that is syntax somewhere between here and the store's disk. */
const HOSTILE_NAMES = [
  'naïve — 海の家 — 🐟🏝️',
  'é',
  'e\u0301',
  '\u202Eright to left\u202C',
  "'; DROP TABLE lease_instances; --",
  '" OR 1=1',
  '{tag}',
  '}{',
  '}',
  '{',
  '%7B',
  '%00',
  'a:b',
  'a:b}:instances',
  '*',
  '__proto__',
  'constructor',
  '[1]',
  'null',
  '1e3',
  '-inf',
  '+inf',
  ' ',
  'line\r\nfeed\ttab',
  '\u0001\u007F\uFEFF\uFFFF',
  '<img src=x onerror=alert(1)>',
  'OK',
  '\\u0000',
]

export const inputCases: LeaseCases = {
  'takes any name as data': async ({ store }) => {
    const entries = HOSTILE_NAMES.map((text) =>
      instance({ service: text, id: text, incarnation: text, zone: text, group: text, version: text })
    )
    await store.renew(entries)
    await store.renew(HOSTILE_NAMES.map((text) => instance({ id: text, incarnation: text })))
    expect(await store.services()).to.have.members([...HOSTILE_NAMES, 'demo.Hello'])
    expect(await ids(store)).to.have.members(HOSTILE_NAMES)
    for (const entry of entries) {
      const listed = (await table(store, entry.service)).map(({ ageMs: _, ...rest }) => rest)
      expect(listed, JSON.stringify(entry.id)).to.deep.equal([entry])
      await store.leave(entry.service, entry.id, 'not mine')
      expect(await ids(store, entry.service), JSON.stringify(entry.id)).to.deep.equal([entry.id])
      await store.leave(entry.service, entry.id, entry.incarnation)
    }
    expect(await store.services()).to.deep.equal(['demo.Hello'])
    expect(await ids(store)).to.have.length(HOSTILE_NAMES.length)
  },
  'refuses what it could not keep apart or bound, and writes none of the batch': async ({ store }) => {
    const long = 'x'.repeat(LIMITS.maxNameLength + 1)
    const refused: Partial<Instance>[] = [
      ...['', long, '\uD800', 'a\uDC00b', 'a\0b'].flatMap((text) => [
        { id: text },
        { service: text },
        { incarnation: text },
      ]),
      ...[0, -1, 0.5, NaN, Infinity, LIMITS.maxLeaseMs + 1].map((ttlMs) => ({ ttlMs })),
      ...[-1, NaN, Infinity].map((weight) => ({ weight })),
      { zone: 'z'.repeat(LIMITS.maxLeaseRecordLength) },
    ]
    for (const fields of refused) {
      const error = await refusal(store.renew([instance({ id: 'sound' }), instance(fields)]))
      expect(error.code, JSON.stringify(fields).slice(0, 80)).to.equal('invalid_argument')
    }
    const tooMany = Array.from({ length: LIMITS.maxLeaseBatch + 1 }, (_, i) => instance({ id: `i${i}` }))
    expect((await refusal(store.renew(tooMany))).code).to.equal('invalid_argument')
    expect((await refusal(store.list(''))).code).to.equal('invalid_argument')
    expect((await refusal(store.leave('demo.Hello', '\uD800', 'first'))).code).to.equal('invalid_argument')
    expect(await store.services()).to.deep.equal([])
    await store.renew([instance({ id: 'i'.repeat(LIMITS.maxNameLength), ttlMs: LIMITS.maxLeaseMs })])
    expect(await ids(store)).to.have.length(1)
  },
}

export const loadCases: LeaseCases = {
  'holds a thousand instances': async ({ store, elapse }) => {
    const many = Array.from({ length: 1000 }, (_, i) => instance({ id: `instance-${i}`, zone: `zone-${i % 7}` }))
    expect(await store.renew(many)).to.deep.equal([])
    const before = await revision(store)
    expect((await ids(store)).sort()).to.deep.equal(many.map((entry) => entry.id).sort())
    await elapse(2)
    expect(await store.renew(many)).to.deep.equal([])
    expect(await store.list('demo.Hello', before)).to.deep.equal({ revision: before, unchanged: true })
    for (const { service, id, incarnation } of many.slice(0, 10)) await store.leave(service, id, incarnation)
    expect(await ids(store)).to.have.length(990)
  },
  'loses no beat of clients that renew at the same time': async ({ store, other }) => {
    const beats = Array.from({ length: 40 }, async (_, i) => {
      const client = i % 2 === 0 ? store : other
      const own = instance({ id: `own-${i}` })
      for (let beat = 0; beat < 5; beat++) {
        expect(await client.renew([instance({ id: 'shared' }), own])).to.deep.equal([])
        const listing = await client.list('demo.Hello')
        expect('instances' in listing && listing.instances.some(({ id }) => id === own.id)).to.equal(true)
      }
    })
    await Promise.all(beats)
    expect(await ids(store)).to.have.length(41)
    expect(await store.list('demo.Hello')).to.deep.include({ revision: await revision(other) })
  },
  'gives every change a revision of its own, whoever makes it': async ({ store, other }) => {
    const seen = new Map<number, string>()
    for (let i = 0; i < 50; i++) {
      await (i % 2 === 0 ? store : other).renew([instance({ weight: i })])
      const listing = await (i % 3 === 0 ? store : other).list('demo.Hello')
      expect(seen.has(listing.revision), `revision ${listing.revision} again`).to.equal(false)
      seen.set(listing.revision, String(i))
    }
    expect([...seen.keys()]).to.deep.equal([...seen.keys()].sort((a, b) => a - b))
  },
}
