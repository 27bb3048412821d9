import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import type { OnceStore } from '../../shared/stores/once_store.ts'
import type { Suite } from '../suite.ts'
import { eventually, refusal } from './expectations.ts'
import { usingOf } from './harnessed.ts'

export interface OnceHarness {
  readonly store: OnceStore
  /** Another client of the same data; the same one where the data is bound to one client. */
  readonly other: OnceStore
  /** Lets the store's clock go on. */
  elapse(ms: number): Promise<void>
  close(): Promise<void>
}

/** What every OnceStore must do. */
export function onceStoreSuite(name: string, open: () => Promise<OnceHarness>): Suite {
  const using = usingOf(open)
  return {
    name: `single use: ${name}`,
    cases: {
      'lets a key be claimed once': using(async ({ store, other }) => {
        expect(await store.claim('token', 60_000)).to.equal(true)
        expect(await store.claim('token', 60_000)).to.equal(false)
        expect(await other.claim('token', 60_000)).to.equal(false)
        expect(await other.claim('another', 60_000)).to.equal(true)
      }),
      'gives a key to one of many that claim it at the same time': using(async ({ store, other }) => {
        const claims = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? store : other).claim('token', 60_000))
        expect((await Promise.all(claims)).filter(Boolean)).to.have.length(1)
      }),
      'forgets a key when its time is over': using(async ({ store, elapse }) => {
        expect(await store.claim('lasting', 60_000)).to.equal(true)
        expect(await store.claim('brief', 50)).to.equal(true)
        // Each asks for a minute: had a refused claim prolonged the first, none could succeed.
        await eventually(() => store.claim('brief', 60_000), elapse)
        expect(await store.claim('brief', 60_000)).to.equal(false)
        expect(await store.claim('lasting', 60_000)).to.equal(false)
      }),
      'takes any key as data, and parts of a millisecond': using(async ({ store }) => {
        const keys = [
          '海🐟',
          "'; DROP TABLE once_keys; --",
          '{a}',
          '}',
          '__proto__',
          'constructor',
          ' ',
          'OK',
          'a\nb',
          '1',
        ]
        for (const key of keys) expect(await store.claim(key, 59_999.5), key).to.equal(true)
        for (const key of keys) expect(await store.claim(key, 59_999.5), key).to.equal(false)
      }),
      'refuses keys and times out of bounds': using(async ({ store }) => {
        for (const key of ['', 'x'.repeat(LIMITS.maxNameLength + 1), '\uD800', 'a\0b']) {
          expect((await refusal(store.claim(key, 1000))).code, JSON.stringify(key)).to.equal('invalid_argument')
        }
        for (const ttlMs of [0, -1, NaN, Infinity, LIMITS.maxOnceMs + 1]) {
          expect((await refusal(store.claim('token', ttlMs))).code, String(ttlMs)).to.equal('invalid_argument')
        }
        expect(await store.claim('token', LIMITS.maxOnceMs)).to.equal(true)
      }),
    },
  }
}
