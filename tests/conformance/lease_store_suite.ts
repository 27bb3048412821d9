import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Instance, LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import type { Suite } from '../suite.ts'
import { eventually, refusal } from './expectations.ts'

/** One store for one case, with what only its runtime's test file can do to it. */
export interface LeaseHarness {
  readonly store: LeaseStore
  /** Another client of the same data; the same one where the data is bound to one client. */
  readonly other: LeaseStore
  /** A lease short enough to wait for its end. */
  shortTtlMs: number
  /** Lets the store's clock go on. */
  elapse(ms: number): Promise<void>
  /** Loses all data, as a Redis restarted empty does. `store` and `other` are ready again afterwards. */
  wipe(): Promise<void>
  close(): Promise<void>
}

/** What every LeaseStore must do. */
export function leaseStoreSuite(name: string, open: () => Promise<LeaseHarness>): Suite {
  const using = (run: (harness: LeaseHarness) => Promise<void>) => async () => {
    const harness = await open()
    try {
      await run(harness)
    } finally {
      await harness.close()
    }
  }
  const cases: Record<string, (harness: LeaseHarness) => Promise<void>> = {
    ...tableCases,
    ...revisionCases,
    ...expiryCases,
    ...incarnationCases,
    ...lossCases,
    ...inputCases,
    ...loadCases,
  }
  return {
    name: `leases: ${name}`,
    cases: Object.fromEntries(Object.entries(cases).map(([title, run]) => [title, using(run)])),
  }
}

/** A lease that does not end during a test. */
const LONG_MS = 60_000

function instance(fields: Partial<Instance> = {}): Instance {
  return {
    id: 'a',
    service: 'demo.Hello',
    version: '1.2.3',
    group: 'default',
    address: { kind: 'url', url: 'https://hello.example/rpc' },
    incarnation: 'first',
    ttlMs: LONG_MS,
    weight: 1,
    zone: 'north',
    ...fields,
  }
}

async function table(store: LeaseStore, service = 'demo.Hello'): Promise<LeasedInstance[]> {
  const listing = await store.list(service)
  if ('unchanged' in listing) throw new Error('A listing that asked about no revision must hold the table')
  return listing.instances
}

async function ids(store: LeaseStore, service = 'demo.Hello'): Promise<string[]> {
  return (await table(store, service)).map((entry) => entry.id)
}

async function revision(store: LeaseStore, service = 'demo.Hello'): Promise<number> {
  return (await store.list(service)).revision
}

/** Registers under a short lease and sees it listed. A machine that stalls may miss it, so it tries again. */
async function seeBriefly({ store, shortTtlMs }: LeaseHarness, fields: Partial<Instance>): Promise<number> {
  for (let tries = 0; tries < 20; tries++) {
    const brief = instance({ ...fields, ttlMs: shortTtlMs })
    await store.renew([brief])
    const listing = await store.list(brief.service)
    if ('instances' in listing && listing.instances.some((entry) => entry.id === brief.id)) return listing.revision
  }
  throw new Error('A registered instance must be listed before its lease ends')
}

const gone = (harness: LeaseHarness, id: string) =>
  eventually(async () => !(await ids(harness.store)).includes(id), harness.elapse)

const tableCases = {
  'lists what was registered, in order of id': async ({ store }: LeaseHarness) => {
    const first = instance({ id: 'b' })
    const second = instance({ id: 'a', address: { kind: 'relay', name: 'relay-7' }, weight: 2.5, zone: '' })
    expect(await store.renew([first, second])).to.deep.equal([])
    const entries = await table(store)
    expect(entries.map(({ ageMs: _, ...rest }) => rest)).to.deep.equal([second, first])
    for (const { ageMs } of entries) expect(ageMs).to.be.at.least(0).and.below(LONG_MS)
  },
  'knows nothing of a service never registered': async ({ store }: LeaseHarness) => {
    expect(await store.list('demo.Unknown')).to.deep.equal({ revision: 0, instances: [] })
    expect(await store.list('demo.Unknown', 0)).to.deep.equal({ revision: 0, unchanged: true })
    expect(await store.services()).to.deep.equal([])
  },
  'takes an empty batch': async ({ store }: LeaseHarness) => {
    expect(await store.renew([])).to.deep.equal([])
  },
  'removes an instance that leaves, at once': async ({ store }: LeaseHarness) => {
    await store.renew([instance({ id: 'a' }), instance({ id: 'b' })])
    await store.leave('demo.Hello', 'a', 'first')
    expect(await ids(store)).to.deep.equal(['b'])
    await store.leave('demo.Hello', 'b', 'first')
    expect(await ids(store)).to.deep.equal([])
    expect(await store.services()).to.deep.equal([])
  },
  'keeps services of one batch apart': async ({ store }: LeaseHarness) => {
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
  'takes the last record of an instance named twice in a batch': async ({ store }: LeaseHarness) => {
    await store.renew([instance({ weight: 1 }), instance({ weight: 2 })])
    expect((await table(store)).map((entry) => entry.weight)).to.deep.equal([2])
  },
}

const revisionCases = {
  'raises no revision for a mere renewal': async ({ store, other, elapse }: LeaseHarness) => {
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
  'raises the revision for every visible change': async ({ store }: LeaseHarness) => {
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
  'raises the revision for a goodbye, but not for one without effect': async ({ store }: LeaseHarness) => {
    await store.renew([instance()])
    const before = await revision(store)
    await store.leave('demo.Hello', 'unknown', 'first')
    expect(await store.list('demo.Hello', before)).to.deep.equal({ revision: before, unchanged: true })
    await store.leave('demo.Hello', 'a', 'first')
    expect(await revision(store)).to.be.above(before)
  },
  'gives the table to whoever asks about another revision, higher ones too': async ({ store }: LeaseHarness) => {
    await store.renew([instance()])
    const now = await revision(store)
    for (const asked of [0, 1, now - 1, now + 1, Number.MAX_SAFE_INTEGER, -1, 0.5]) {
      expect(await store.list('demo.Hello', asked), String(asked)).to.have.property('instances').with.length(1)
    }
  },
}

const expiryCases = {
  'drops an expired lease and raises the revision': async (harness: LeaseHarness) => {
    const { store } = harness
    await store.renew([instance({ id: 'lasting' })])
    const before = await seeBriefly(harness, { id: 'brief' })
    await gone(harness, 'brief')
    expect(await ids(store)).to.deep.equal(['lasting'])
    expect(await revision(store)).to.be.above(before)
    expect(await store.list('demo.Hello', before)).to.have.property('instances').with.length(1)
  },
  'names no service whose last lease has expired': async (harness: LeaseHarness) => {
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
  'names a service for as long as one of its leases lasts': async (harness: LeaseHarness) => {
    const { store, shortTtlMs } = harness
    await store.renew([instance({ id: 'lasting' })])
    await store.renew([instance({ id: 'brief', ttlMs: shortTtlMs })])
    await gone(harness, 'brief')
    expect(await store.services()).to.deep.equal(['demo.Hello'])
  },
  'names no service whose lasting instance left before the brief one expired': async (harness: LeaseHarness) => {
    const { store, shortTtlMs } = harness
    await store.renew([instance({ id: 'lasting' }), instance({ id: 'brief', ttlMs: shortTtlMs })])
    await store.leave('demo.Hello', 'lasting', 'first')
    await eventually(async () => (await store.services()).length === 0, harness.elapse)
  },
  'takes an expired instance back with its next beat': async (harness: LeaseHarness) => {
    const { store } = harness
    await seeBriefly(harness, {})
    await gone(harness, 'a')
    const empty = await revision(store)
    expect(await store.renew([instance()])).to.deep.equal([])
    expect(await ids(store)).to.deep.equal(['a'])
    expect(await revision(store)).to.be.above(empty)
  },
  'moves the end of a lease with each beat': async (harness: LeaseHarness) => {
    const { store } = harness
    const brief = await seeBriefly(harness, {})
    await store.renew([instance({ ttlMs: LONG_MS })])
    await store.renew([instance({ id: 'marker', ttlMs: harness.shortTtlMs })])
    await gone(harness, 'marker')
    expect(await ids(store)).to.deep.equal(['a'])
    expect(await revision(store)).to.be.above(brief)
  },
}

const incarnationCases = {
  'lets a restarted instance replace its former life': async ({ store }: LeaseHarness) => {
    await store.renew([instance({ incarnation: 'first' })])
    expect(await store.renew([instance({ incarnation: 'second' })])).to.deep.equal([])
    expect((await table(store)).map((entry) => entry.incarnation)).to.deep.equal(['second'])
  },
  'refuses the beat of a superseded life': async ({ store, other }: LeaseHarness) => {
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
  'ignores the goodbye of a superseded life, or of one never met': async ({ store }: LeaseHarness) => {
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
  'refuses a beat that arrives after its goodbye': async ({ store }: LeaseHarness) => {
    await store.renew([instance()])
    await store.leave('demo.Hello', 'a', 'first')
    expect(await store.renew([instance()])).to.deep.equal([instance()])
    expect(await ids(store)).to.deep.equal([])
    expect(await store.renew([instance({ incarnation: 'second' })])).to.deep.equal([])
    expect(await ids(store)).to.deep.equal(['a'])
    expect(await store.renew([instance()])).to.deep.equal([instance()])
  },
  'refuses a first beat that its goodbye overtook': async ({ store }: LeaseHarness) => {
    await store.leave('demo.Hello', 'a', 'first')
    expect(await store.renew([instance()])).to.deep.equal([instance()])
    expect(await ids(store)).to.deep.equal([])
  },
  'refuses a life whose successor came and went': async (harness: LeaseHarness) => {
    const { store } = harness
    await store.renew([instance({ incarnation: 'first' })])
    await seeBriefly(harness, { incarnation: 'second' })
    await gone(harness, 'a')
    const zombie = instance({ incarnation: 'first' })
    expect(await store.renew([zombie])).to.deep.equal([zombie])
    expect(await ids(store)).to.deep.equal([])
    expect(await store.renew([instance({ incarnation: 'second' })])).to.deep.equal([])
  },
  'refuses a life that expired before its successor came': async (harness: LeaseHarness) => {
    const { store } = harness
    await seeBriefly(harness, { incarnation: 'first' })
    await gone(harness, 'a')
    await store.renew([instance({ incarnation: 'second' })])
    const zombie = instance({ incarnation: 'first' })
    expect(await store.renew([zombie])).to.deep.equal([zombie])
    expect((await table(store)).map((entry) => entry.incarnation)).to.deep.equal(['second'])
  },
  'remembers a bounded number of past lives': async ({ store }: LeaseHarness) => {
    for (let life = 0; life <= LIMITS.maxPastLives + 1; life++) {
      await store.renew([instance({ incarnation: `life ${life}` })])
    }
    const remembered = instance({ incarnation: 'life 1' })
    expect(await store.renew([remembered])).to.deep.equal([remembered])
    expect(await store.renew([instance({ incarnation: 'life 0' })])).to.deep.equal([])
  },
  'has lives of their own for equal ids of different services': async ({ store }: LeaseHarness) => {
    await store.renew([instance({ service: 'demo.One' }), instance({ service: 'demo.Two' })])
    await store.leave('demo.One', 'a', 'first')
    expect(await store.renew([instance({ service: 'demo.Two' })])).to.deep.equal([])
    expect(await ids(store, 'demo.Two')).to.deep.equal(['a'])
  },
}

const lossCases = {
  'is filled again by beats after losing everything, and no reader takes that for unchanged': async (
    harness: LeaseHarness,
  ) => {
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
  'shows a reader that everything is lost': async (harness: LeaseHarness) => {
    await harness.store.renew([instance()])
    const before = await revision(harness.store)
    await harness.wipe()
    expect(await harness.store.list('demo.Hello', before)).to.deep.equal({ revision: 0, instances: [] })
  },
}

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

const inputCases = {
  'takes any name as data': async ({ store }: LeaseHarness) => {
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
  'refuses what it could not keep apart or bound, and writes none of the batch': async ({ store }: LeaseHarness) => {
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

const loadCases = {
  'holds a thousand instances': async ({ store, elapse }: LeaseHarness) => {
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
  'loses no beat of clients that renew at the same time': async ({ store, other }: LeaseHarness) => {
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
  'gives every change a revision of its own, whoever makes it': async ({ store, other }: LeaseHarness) => {
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
