import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import type { ElectionStore } from '../../shared/stores/election_store.ts'
import type { Suite } from '../suite.ts'
import { eventually, refusal } from './expectations.ts'
import { harnessed } from './harnessed.ts'

/** One store for one case, with what only its runtime's test file can do to it. */
export interface ElectionHarness {
  readonly store: ElectionStore
  /** Another client of the same data; the same one where the data is bound to one client. */
  readonly other: ElectionStore
  /** A lease short enough to wait for its end. */
  shortTtlMs: number
  /** Lets the store's clock go on. */
  elapse(ms: number): Promise<void>
  /** Makes all stored times what they would be had the store's clock leapt by so much, backwards if below 0. */
  leap(ms: number): Promise<void>
  /** Loses all data, as a Redis restarted empty does. `store` and `other` are ready again afterwards. */
  wipe(): Promise<void>
  close(): Promise<void>
}

/** What every ElectionStore must do. */
export function electionStoreSuite(name: string, open: () => Promise<ElectionHarness>): Suite {
  return {
    name: `elections: ${name}`,
    cases: harnessed(open, cases),
  }
}

/** A lease that does not end during a test. */
const LONG_MS = 60_000

async function begin(store: ElectionStore, candidate: string, ttlMs = LONG_MS, name = 'trainer'): Promise<number> {
  const standing = await store.acquire(name, candidate, ttlMs)
  if (!('epoch' in standing)) throw new Error(`Expected ${candidate} to begin a term, got ${JSON.stringify(standing)}`)
  return standing.epoch
}

/** Stands until the other's lease is over. */
async function succeed({ other, elapse }: ElectionHarness, candidate: string): Promise<number> {
  let epoch: number | undefined
  await eventually(async () => {
    const standing = await other.acquire('trainer', candidate, LONG_MS)
    if ('epoch' in standing) epoch = standing.epoch
    return epoch !== undefined
  }, elapse)
  return epoch ?? 0
}

const cases: Record<string, (harness: ElectionHarness) => Promise<void>> = {
  'lets one lead, and tells the others for how long': async ({ store, other }) => {
    const epoch = await begin(store, 'a')
    expect(epoch).to.be.above(0)
    for (const client of [store, other]) {
      const standing = await client.acquire('trainer', 'b', LONG_MS)
      expect('heldForMs' in standing && standing.heldForMs).to.be.above(LONG_MS / 2).and.at.most(LONG_MS)
    }
    expect(await store.renew('trainer', 'a', epoch, LONG_MS)).to.equal(true)
  },
  'lets one of many lead that stand at the same time': async ({ store, other }) => {
    const standings = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 ? store : other).acquire('trainer', `c${i}`, LONG_MS)),
    )
    expect(standings.filter((standing) => 'epoch' in standing)).to.have.length(1)
  },
  'keeps elections apart': async ({ store }) => {
    await begin(store, 'a', LONG_MS, 'one')
    await begin(store, 'b', LONG_MS, 'two')
    expect(await store.acquire('one', 'b', LONG_MS)).to.have.property('heldForMs')
  },
  'lets another lead once the lease has run out, with a higher epoch': async (harness) => {
    const first = await begin(harness.store, 'a', harness.shortTtlMs)
    const second = await succeed(harness, 'b')
    expect(second).to.be.above(first)
    expect(await harness.store.renew('trainer', 'a', first, LONG_MS)).to.equal(false)
    expect(await harness.store.renew('trainer', 'b', second, LONG_MS)).to.equal(true)
  },
  'prolongs a lease by renewals': async (harness) => {
    const { store, shortTtlMs } = harness
    // It must still last when it is prolonged, however busy the machine.
    const ttlMs = 15 * shortTtlMs
    const epoch = await begin(store, 'a', ttlMs)
    expect(await store.renew('trainer', 'a', epoch, LONG_MS)).to.equal(true)
    await begin(store, 'marker', ttlMs, 'another')
    await eventually(async () => 'epoch' in await store.acquire('another', 'b', LONG_MS), harness.elapse)
    expect(await store.acquire('trainer', 'b', LONG_MS)).to.have.property('heldForMs')
  },
  'revives no lease that has run out, though nobody took its place': async (harness) => {
    const { store, shortTtlMs, elapse } = harness
    const epoch = await begin(store, 'a', shortTtlMs)
    await elapse(shortTtlMs + 5)
    expect(await store.renew('trainer', 'a', epoch, LONG_MS)).to.equal(false)
    expect(await begin(store, 'b')).to.be.above(epoch)
  },
  'lets another lead at once after a resignation': async ({ store, other }) => {
    const first = await begin(store, 'a')
    await store.resign('trainer', 'a', first)
    const second = await begin(other, 'b')
    expect(second).to.be.above(first)
    expect(await store.renew('trainer', 'a', first, LONG_MS)).to.equal(false)
    // Said again, late, by whoever led before: it changes nothing.
    await store.resign('trainer', 'a', first)
    await store.resign('trainer', 'b', first)
    await store.resign('trainer', 'a', second)
    expect(await other.renew('trainer', 'b', second, LONG_MS)).to.equal(true)
  },
  'begins a new term for a holder that stands again': async ({ store }) => {
    const first = await begin(store, 'a')
    const second = await begin(store, 'a')
    expect(second).to.be.above(first)
    expect(await store.renew('trainer', 'a', first, LONG_MS)).to.equal(false)
    expect(await store.renew('trainer', 'a', second, LONG_MS)).to.equal(true)
  },
  'renews neither for others nor under other epochs': async ({ store }) => {
    const epoch = await begin(store, 'a')
    expect(await store.renew('trainer', 'b', epoch, LONG_MS)).to.equal(false)
    expect(await store.renew('trainer', 'a', epoch + 1, LONG_MS)).to.equal(false)
    expect(await store.renew('trainer', 'a', epoch - 1, LONG_MS)).to.equal(false)
    expect(await store.renew('nothing', 'a', epoch, LONG_MS)).to.equal(false)
  },
  'raises the epoch with every term, however fast they follow': async ({ store, other }) => {
    let last = 0
    for (let i = 0; i < 30; i++) {
      const client = i % 2 ? store : other
      const epoch = await begin(client, `c${i % 3}`)
      expect(epoch).to.be.above(last)
      last = epoch
      await client.resign('trainer', `c${i % 3}`, epoch)
    }
  },
  'gives out higher epochs after losing everything': async (harness) => {
    let last = 0
    for (let i = 0; i < 5; i++) {
      last = await begin(harness.store, 'a')
      await harness.store.resign('trainer', 'a', last)
    }
    // Five terms within a millisecond would end above the time; they do not follow that fast for long.
    await harness.elapse(10)
    await harness.wipe()
    expect(await harness.store.renew('trainer', 'a', last, LONG_MS)).to.equal(false)
    expect(await begin(harness.other, 'b')).to.be.above(last)
  },
  'gives out higher epochs though its clock was set back': async ({ store, leap }) => {
    const first = await begin(store, 'a')
    await leap(-3_600_000)
    await store.resign('trainer', 'a', first)
    expect(await begin(store, 'b')).to.be.above(first)
  },
  'holds nobody up for longer than a lease after its clock was set back': async (harness) => {
    await begin(harness.store, 'a', harness.shortTtlMs)
    await harness.leap(-3_600_000)
    const standing = await harness.other.acquire('trainer', 'b', LONG_MS)
    expect('heldForMs' in standing && standing.heldForMs).to.be.at.most(harness.shortTtlMs)
    await succeed(harness, 'b')
  },
  'ends a lease when its clock leaps over it: the leader learns of it by its next renewal': async ({ store, leap }) => {
    const epoch = await begin(store, 'a')
    await leap(3_600_000)
    expect(await store.renew('trainer', 'a', epoch, LONG_MS)).to.equal(false)
    expect(await begin(store, 'b')).to.be.above(epoch)
  },
  'takes any name as data': async ({ store }) => {
    for (
      const text of ["'; DROP TABLE elections; --", '{tag}', '}{', '海の家 🏝️', '__proto__', '-inf', ' ', 'a:b', '[1]']
    ) {
      const epoch = await begin(store, text, LONG_MS, text)
      expect(await store.renew(text, text, epoch, LONG_MS), text).to.equal(true)
      expect(await store.acquire(text, 'b', LONG_MS), text).to.have.property('heldForMs')
    }
  },
  'refuses what it could not keep apart or bound': async ({ store }) => {
    const long = 'x'.repeat(LIMITS.maxNameLength + 1)
    const calls = [
      ...['', long, '\uD800', 'a\0b'].flatMap((text) => [
        () => store.acquire(text, 'a', LONG_MS),
        () => store.acquire('trainer', text, LONG_MS),
        () => store.renew(text, 'a', 1, LONG_MS),
        () => store.resign('trainer', text, 1),
      ]),
      ...[0, -1, 0.5, NaN, Infinity, LIMITS.maxLeaseMs + 1].flatMap((ttlMs) => [
        () => store.acquire('trainer', 'a', ttlMs),
        () => store.renew('trainer', 'a', 1, ttlMs),
      ]),
      ...[-1, 0.5, NaN, Infinity, 2 ** 53].flatMap((epoch) => [
        () => store.renew('trainer', 'a', epoch, LONG_MS),
        () => store.resign('trainer', 'a', epoch),
      ]),
    ]
    for (const call of calls) expect((await refusal(call())).code, String(call)).to.equal('invalid_argument')
    await begin(store, 'a')
  },
}
