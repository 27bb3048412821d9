import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import { fenced, type FencedStore } from '../../shared/stores/fence.ts'
import type { Suite } from '../suite.ts'
import { refusal } from './expectations.ts'
import { harnessed } from './harnessed.ts'

export interface FenceHarness {
  readonly store: FencedStore
  /** Another client of the same data; the same one where the data is bound to one client. */
  readonly other: FencedStore
  close(): Promise<void>
}

/** What every FencedStore must do. */
export function fenceSuite(name: string, open: () => Promise<FenceHarness>): Suite {
  return {
    name: `fences: ${name}`,
    cases: harnessed(open, cases),
  }
}

const cases: Record<string, (harness: FenceHarness) => Promise<void>> = {
  'knows nothing at first': async ({ store }) => {
    expect(await store.get('run')).to.equal(undefined)
  },
  'admits a term again and again, until a later one comes': async ({ store, other }) => {
    await store.admit('run', 5)
    await store.admit('run', 5)
    await other.admit('run', 7)
    const error = await refusal(store.admit('run', 5))
    expect(error.code).to.equal('aborted')
    expect(error.message).to.equal('Cannot write to "run": its leader must be of epoch 7 or later, got 5')
    await store.admit('run', 7)
    expect(await store.get('run')).to.deep.equal({ epoch: 7, value: undefined })
  },
  'writes for the latest term alone': async ({ store, other }) => {
    await store.put('run', 5, 'five')
    await store.put('run', 5, 'five again')
    await other.put('run', 6, '')
    expect((await refusal(store.put('run', 5, 'late'))).code).to.equal('aborted')
    expect(await store.get('run')).to.deep.equal({ epoch: 6, value: '' })
    // A term that was only admitted shuts earlier ones out too, and leaves the value.
    await store.admit('run', 8)
    expect((await refusal(other.put('run', 7, 'late'))).code).to.equal('aborted')
    expect(await other.get('run')).to.deep.equal({ epoch: 8, value: '' })
  },
  'keeps names apart': async ({ store }) => {
    await store.put('one', 9, 'x')
    await store.put('two', 1, 'y')
    expect(await store.get('two')).to.deep.equal({ epoch: 1, value: 'y' })
  },
  'carries the epoch for a leader': async ({ store }) => {
    const old = fenced(store, 3)
    await old.admit('run')
    await old.put('run', 'three')
    await fenced(store, 4).put('run', 'four')
    expect((await refusal(old.put('run', 'late'))).code).to.equal('aborted')
    expect((await refusal(old.admit('run'))).code).to.equal('aborted')
    expect(await store.get('run')).to.deep.equal({ epoch: 4, value: 'four' })
  },
  'never lets a value go back among terms that write at the same time': async ({ store, other }) => {
    const writes = Array.from({ length: 60 }, (_, i) => {
      const epoch = (i * 7) % 20
      return (i % 2 ? store : other).put('run', epoch, String(epoch)).then(() => epoch, () => -1)
    })
    const admitted = await Promise.all(writes)
    expect(await store.get('run')).to.deep.equal({ epoch: 19, value: '19' })
    expect(admitted).to.include(19)
  },
  'takes epochs up to the largest whole number': async ({ store }) => {
    await store.put('run', Number.MAX_SAFE_INTEGER - 1, 'x')
    await store.put('run', Number.MAX_SAFE_INTEGER, '海の家 🏝️')
    expect((await refusal(store.admit('run', Number.MAX_SAFE_INTEGER - 1))).code).to.equal('aborted')
    expect(await store.get('run')).to.deep.equal({ epoch: Number.MAX_SAFE_INTEGER, value: '海の家 🏝️' })
  },
  'refuses what it could not keep apart or bound': async ({ store }) => {
    const calls = [
      ...['', 'x'.repeat(LIMITS.maxNameLength + 1), '\uD800', 'a\0b'].flatMap((name) => [
        () => store.admit(name, 1),
        () => store.put(name, 1, 'x'),
        () => store.get(name),
      ]),
      ...[-1, 0.5, NaN, Infinity, 2 ** 53].map((epoch) => () => store.admit('run', epoch)),
      ...['\uD800', 'a\0b', 'x'.repeat(LIMITS.maxControlBytes + 1)].map((value) => () => store.put('run', 1, value)),
    ]
    for (const call of calls) expect((await refusal(call())).code).to.equal('invalid_argument')
    expect(await store.get('run')).to.equal(undefined)
  },
}
