import { describe, expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { memoryOnce } from '../../../shared/stores/once_store.ts'
import { refusal } from '../../conformance/expectations.ts'

describe('single-use keys in memory', () => {
  it('refuses new keys when full, rather than forget one that could be used again', async () => {
    const clock = new FakeClock()
    const store = memoryOnce(clock, 3)
    for (const [key, ttlMs] of [['a', 100], ['b', 200], ['c', 300]] as const) await store.claim(key, ttlMs)
    const error = await refusal(store.claim('d', 100))
    expect(error.code).toBe('resource_exhausted')
    expect(error.retryAfterMs).toBe(100)
    expect(await store.claim('a', 100)).toBe(false)

    await clock.advance(100)
    expect(await store.claim('d', 50)).toBe(true)
    expect((await refusal(store.claim('e', 100))).retryAfterMs).toBe(50)
    expect(await store.claim('b', 100)).toBe(false)
  })

  it('claims again a key that has run out, though the store is full', async () => {
    const clock = new FakeClock()
    const store = memoryOnce(clock, 1)
    await store.claim('a', 100)
    await clock.advance(100)
    expect(await store.claim('a', 100)).toBe(true)
    expect(await store.claim('a', 100)).toBe(false)
  })

  it('holds as many as the limit says', async () => {
    const store = memoryOnce(new FakeClock())
    for (let i = 0; i < LIMITS.maxOnceKeys; i++) await store.claim(`key-${i}`, 1000)
    expect((await refusal(store.claim('one more', 1000))).code).toBe('resource_exhausted')
  })
})
