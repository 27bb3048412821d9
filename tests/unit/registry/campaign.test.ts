import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { campaign, type CampaignOptions, terms } from '../../../shared/registry/campaign.ts'
import type { Term } from '../../../shared/registry/term.ts'
import type { ElectionStore } from '../../../shared/stores/election_store.ts'
import { openSqliteElections } from '../../../shared/stores/sqlite_election.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { refusal } from '../../conformance/expectations.ts'

const TTL_MS = 15_000
const TRUST_MS = TTL_MS * (1 - DEFAULTS.electionMargin)

let clock: FakeClock
let store: ElectionStore

beforeEach(() => {
  clock = new FakeClock()
  store = openSqliteElections(':memory:', clock)
})
afterEach(() => store.close())

function stand(fields: Partial<CampaignOptions> = {}): Promise<Term> {
  return campaign({ store, name: 'trainer', ttlMs: TTL_MS, clock, wall: clock, random: seededRandom(1), ...fields })
}

const away = () => Promise.reject(new RpcError('unavailable', 'the store is away'))

describe('a campaign', () => {
  it('leads at once where nobody does, and for as long as it can renew', async () => {
    const term = await stand()
    await clock.advance(20 * TTL_MS)
    expect(term.signal.aborted).toBe(false)
    expect(await store.acquire('trainer', 'other', TTL_MS)).toHaveProperty('heldForMs')
    await term.resign()
    expect(term.signal.aborted).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('renews about three times a lease', async () => {
    let renewals = 0
    const counted = {
      ...store,
      renew: (...args: Parameters<ElectionStore['renew']>) => (renewals++, store.renew(...args)),
    }
    const term = await stand({ store: counted })
    await clock.advance(100 * TTL_MS)
    expect(renewals).toBeGreaterThan(290)
    expect(renewals).toBeLessThan(310)
    await term.resign()
  })

  it('waits until the leader resigns, and no longer than to the next look', async () => {
    const first = await stand()
    const second = stand({ random: seededRandom(2) })
    await clock.advance(5 * TTL_MS)
    await first.resign()
    await clock.advance(TTL_MS / 3 * (1 + DEFAULTS.beatJitter))
    const term = await second
    expect(term.epoch).toBeGreaterThan(first.epoch)
    await term.resign()
  })

  it('stops by its own clock while the store is away, before its lease is over', async () => {
    const renew = store.renew.bind(store)
    let lastSentAtMs = clock.now()
    let isAway = false
    const term = await stand({
      store: {
        ...store,
        renew: (...args) => {
          if (isAway) return away()
          lastSentAtMs = clock.now()
          return renew(...args)
        },
      },
    })
    await clock.advance(2 * TTL_MS)
    isAway = true
    let endedAtMs = 0
    term.signal.addEventListener('abort', () => endedAtMs = clock.now())
    await clock.advance(2 * TTL_MS)
    expect(endedAtMs).toBe(lastSentAtMs + TRUST_MS)
    expect(term.signal.reason).toMatchObject({
      code: 'aborted',
      message: `Cannot go on leading "trainer": epoch ${term.epoch} is over (its lease was not renewed in time)`,
    })
    expect(clock.pending).toBe(0)
  })

  it('goes on if the store comes back in time', async () => {
    let isAway = false
    const term = await stand({ store: { ...store, renew: (...args) => isAway ? away() : store.renew(...args) } })
    for (let i = 0; i < 10; i++) {
      isAway = true
      await clock.advance(TTL_MS / 3)
      isAway = false
      await clock.advance(TTL_MS)
    }
    expect(term.signal.aborted).toBe(false)
    await term.resign()
  })

  it('stops as soon as the store says that its term is over', async () => {
    const term = await stand({ candidate: 'me' })
    await store.resign('trainer', 'me', term.epoch)
    await clock.advance(TTL_MS / 2)
    expect(term.signal.reason).toMatchObject({ message: expect.stringContaining("its lease is another's") })
  })

  it('counts a lease from when it was asked for, not from the answer', async () => {
    const slow: typeof store = {
      ...store,
      async acquire(...args) {
        const standing = await store.acquire(...args)
        await new Promise<void>((resolve) => clock.after(10_000, resolve))
        return standing
      },
      renew: away,
    }
    const standing = stand({ store: slow })
    await clock.advance(10_000)
    const term = await standing
    expect(term.signal.aborted).toBe(false)
    await clock.advance(TRUST_MS - 10_000)
    expect(term.signal.aborted).toBe(true)
  })

  it('takes no term that was over when it heard of it, and gives it back', async () => {
    let delayMs = TTL_MS
    const slow: typeof store = {
      ...store,
      async acquire(...args) {
        const standing = await store.acquire(...args)
        await new Promise<void>((resolve) => clock.after(delayMs, resolve))
        return standing
      },
    }
    const standing = stand({ store: slow })
    await clock.advance(TTL_MS)
    delayMs = 0
    await clock.advance(TTL_MS)
    const term = await standing
    expect(term.signal.aborted).toBe(false)
    await term.resign()
  })

  it('sees on waking, before any timer, that it was paused for too long', async () => {
    // Timers of this clock never fire: the process wakes, and other work has its turn first.
    let nowMs = 0
    const paused = { now: () => nowMs, after: () => () => {} }
    const term = await stand({ clock: paused, wall: paused })
    nowMs = TRUST_MS - 1
    expect(term.signal.aborted).toBe(false)
    const { signal } = term
    nowMs = TRUST_MS
    expect(term.epoch).toBeGreaterThan(0)
    expect(signal.aborted).toBe(true)
  })

  it('stops after a sleep that only the clock of the day has noticed', async () => {
    let sleptMs = 0
    const term = await stand({ wall: { now: () => clock.now() + sleptMs } })
    sleptMs = -TTL_MS
    expect(term.signal.aborted).toBe(false)
    sleptMs = TRUST_MS
    expect(term.signal.aborted).toBe(true)
  })

  it('does not revive a term by a late answer, and gives back what that prolonged', async () => {
    const late = Promise.withResolvers<void>()
    let held = false
    const term = await stand({
      store: {
        ...store,
        async renew(...args) {
          const renewed = await store.renew(...args)
          if (held) await late.promise
          return renewed
        },
      },
    })
    held = true
    await clock.advance(TTL_MS)
    expect(term.signal.aborted).toBe(true)
    expect(await store.acquire('trainer', 'other', TTL_MS)).toHaveProperty('heldForMs')
    late.resolve()
    await clock.advance(0)
    expect(term.signal.aborted).toBe(true)
    expect(await store.acquire('trainer', 'other', TTL_MS)).toHaveProperty('epoch')
  })

  it('asks again while the store is away, less and less often', async () => {
    let asked = 0
    const standing = stand({
      store: { ...store, acquire: (...args) => ++asked < 10 ? away() : store.acquire(...args) },
    })
    await clock.advance(10 * TTL_MS)
    const term = await standing
    expect(asked).toBe(10)
    await term.resign()
  })

  it('refuses a name or lease that no store takes, instead of asking again', async () => {
    expect((await refusal(stand({ ttlMs: 0 }))).code).toBe('invalid_argument')
    expect((await refusal(stand({ name: '' }))).code).toBe('invalid_argument')
  })

  it('ends with its signal: the one that waits, and the one that leads', async () => {
    const stop = new AbortController()
    const term = await stand({ signal: stop.signal })
    const waiting = refusal(stand({ signal: stop.signal }))
    await clock.advance(TTL_MS)
    stop.abort(new RpcError('canceled', 'going home'))
    expect((await waiting).message).toBe('going home')
    expect(term.signal.aborted).toBe(true)
    await clock.advance(0)
    expect(await store.acquire('trainer', 'other', TTL_MS)).toHaveProperty('epoch')
    expect(clock.pending).toBe(0)
    expect((await refusal(stand({ signal: stop.signal }))).message).toBe('going home')
  })

  it('gives back a term that it won after it had been told to stop', async () => {
    const stop = new AbortController()
    const answer = Promise.withResolvers<void>()
    const slow: typeof store = {
      ...store,
      async acquire(...args) {
        const standing = await store.acquire(...args)
        await answer.promise
        return standing
      },
    }
    const standing = refusal(stand({ store: slow, signal: stop.signal }))
    await clock.advance(1)
    stop.abort(new Error('going home'))
    expect((await standing).code).toBe('canceled')
    answer.resolve()
    await clock.advance(1)
    expect(await store.acquire('trainer', 'other', TTL_MS)).toHaveProperty('epoch')
  })

  it('does not reject where resigning fails', async () => {
    const term = await stand({ store: { ...store, resign: away } })
    await term.resign()
    expect(term.signal.aborted).toBe(true)
  })
})

describe('a campaign that goes on', () => {
  it('stands again after losing a term, and ends a term with the body of its loop', async () => {
    const stop = new AbortController()
    const options = { store, name: 'trainer', ttlMs: TTL_MS, clock, wall: clock, random: seededRandom(1) }
    const seen: { epoch: number; endedBefore: boolean }[] = []
    let before: Term | undefined
    const run = (async () => {
      for await (const term of terms({ ...options, candidate: 'me', signal: stop.signal })) {
        seen.push({ epoch: term.epoch, endedBefore: before?.signal.aborted ?? true })
        before = term
        if (seen.length === 4) break
        // The store forgets the first term; the others end because the body does.
        if (seen.length > 1) continue
        await store.resign('trainer', 'me', term.epoch)
        await new Promise((resolve) => term.signal.addEventListener('abort', resolve))
      }
    })()
    await clock.advance(2 * TTL_MS)
    await run
    expect(seen).toHaveLength(4)
    expect(seen.map(({ endedBefore }) => endedBefore)).toEqual([true, true, true, true])
    expect(seen.map(({ epoch }) => epoch)).toEqual(seen.map(({ epoch }) => epoch).toSorted((a, b) => a - b))
    expect(new Set(seen.map(({ epoch }) => epoch)).size).toBe(4)
    expect(before?.signal.aborted).toBe(true)
    expect(await store.acquire('trainer', 'other', TTL_MS)).toHaveProperty('epoch')
    expect(clock.pending).toBe(0)
  })
})
