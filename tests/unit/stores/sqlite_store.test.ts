import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import type { LeaseStore } from '../../../shared/stores/lease_store.ts'
import { openSqliteLeases } from '../../../shared/stores/sqlite_store.ts'
import { openSqliteOnce } from '../../../shared/stores/sqlite_once.ts'
import { refusal } from '../../conformance/expectations.ts'
import { instance, PEERS } from './instances.ts'

/** Of all but the peers. */
async function idsAndAges(store: LeaseStore): Promise<[string, number][]> {
  const listing = await store.list('demo.Hello')
  const rows = 'instances' in listing ? listing.instances.map(({ id, ageMs }): [string, number] => [id, ageMs]) : []
  return rows.filter(([id]) => !id.startsWith('peer-'))
}

describe('leases in SQLite, by a clock that stands still', () => {
  let clock: FakeClock
  let store: LeaseStore

  beforeEach(() => {
    clock = new FakeClock()
    store = openSqliteLeases(':memory:', clock)
  })
  afterEach(() => store.close())

  it('ends a lease exactly when its time is over', async () => {
    await store.renew([...PEERS, instance({ ttlMs: 15_000 }), instance({ service: 'demo.Other', ttlMs: 15_000 })])
    await clock.advance(14_999)
    expect(await idsAndAges(store)).toEqual([['a', 14_999]])
    expect(await store.services()).toEqual(['demo.Hello', 'demo.Other'])
    await clock.advance(1)
    expect(await store.services()).toEqual(['demo.Hello'])
    expect(await idsAndAges(store)).toEqual([])
  })

  it('counts a lease from the last beat', async () => {
    await store.renew([instance({ ttlMs: 15_000 })])
    for (let beat = 0; beat < 5; beat++) {
      await clock.advance(14_999)
      await store.renew([instance({ ttlMs: 15_000 })])
    }
    expect(await idsAndAges(store)).toEqual([['a', 0]])
    await clock.advance(5_000)
    expect(await idsAndAges(store)).toEqual([['a', 5_000]])
  })

  it('changes nothing a reader has seen if a late beat comes before anyone noticed', async () => {
    await store.renew([instance({ ttlMs: 15_000 })])
    const { revision } = await store.list('demo.Hello')
    await clock.advance(20_000)
    await store.renew([instance({ ttlMs: 15_000 })])
    expect(await store.list('demo.Hello', revision)).toEqual({ revision, unchanged: true })
  })

  it('gives a change the time as its revision, so that the number of a lost change is not given out again', async () => {
    await store.renew([instance()])
    await clock.advance(50)
    await store.renew([instance({ weight: 2 })])
    expect((await store.list('demo.Hello')).revision).toBe(clock.now())
  })

  it('forgets the lives of an instance that has been gone for long, and only then', async () => {
    await store.renew([...PEERS, instance({ incarnation: 'first' })])
    await store.renew([instance({ incarnation: 'second', ttlMs: 10 })])
    const zombie = instance({ incarnation: 'first', ttlMs: 10 })
    await clock.advance(10)
    expect(await idsAndAges(store)).toEqual([])
    await clock.advance(DEFAULTS.lifeMemoryMs - 1)
    expect(await store.renew([zombie])).toEqual([zombie])
    await clock.advance(1)
    await store.renew([])
    expect(await store.renew([zombie])).toEqual([])
  })

  it('keeps past lives in mind for as long as the instance lives, though it was gone for a while', async () => {
    await store.renew([...PEERS, instance({ incarnation: 'first' })])
    await store.renew([instance({ incarnation: 'second', ttlMs: 10 })])
    await clock.advance(10)
    expect(await idsAndAges(store)).toEqual([])
    for (let beat = 0; beat < 5; beat++) {
      await store.renew([instance({ incarnation: 'second', ttlMs: DEFAULTS.lifeMemoryMs })])
      await clock.advance(DEFAULTS.lifeMemoryMs - 1)
    }
    await store.renew([])
    const zombie = instance({ incarnation: 'first' })
    expect(await store.renew([zombie])).toEqual([zombie])
  })
})

describe('a SQLite file', () => {
  let folder: string
  let path: string

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-sqlite-'))
    path = join(folder, 'shoal.db')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('outlives the process, with its leases, revisions, lives and claims', async () => {
    const clock = new FakeClock()
    const before = openSqliteLeases(path, clock)
    await before.renew([instance({ incarnation: 'first' }), instance({ id: 'b' })])
    await before.renew([instance({ incarnation: 'second' })])
    const { revision } = await before.list('demo.Hello')
    await before.close()
    const onceBefore = openSqliteOnce(path, clock)
    expect(await onceBefore.claim('token', 1000)).toBe(true)
    await onceBefore.close()

    const after = openSqliteLeases(path, clock)
    const onceAfter = openSqliteOnce(path, clock)
    try {
      expect(await after.list('demo.Hello', revision)).toEqual({ revision, unchanged: true })
      expect((await idsAndAges(after)).map(([id]) => id)).toEqual(['a', 'b'])
      expect(await after.renew([instance({ incarnation: 'first' })])).toHaveLength(1)
      expect(await onceAfter.claim('token', 1000)).toBe(false)
    } finally {
      await Promise.all([after.close(), onceAfter.close()])
    }
  })

  it('drops expired leases when others are renewed: a service that no one reads stays bounded', async () => {
    const clock = new FakeClock()
    const store = openSqliteLeases(path, clock)
    await store.renew([instance({ id: 'gone', ttlMs: 10 })])
    await clock.advance(10)
    await store.renew(PEERS)
    await store.close()
    const file = new DatabaseSync(path)
    for (const table of ['lease_instances', 'lease_health']) {
      expect(file.prepare(`SELECT id FROM ${table}`).all().map(({ id }) => id)).toEqual(PEERS.map(({ id }) => id))
    }
    file.close()
  })

  it('may be made by several processes at the same moment', async () => {
    const child = join(import.meta.dirname, 'sqlite_opening_child.ts')
    const startAtMs = Date.now() + 1000
    await Promise.all(
      [1, 2].map(() => promisify(execFile)(process.execPath, [child, folder, String(startAtMs), '60'])),
    )
  })

  it('may be used by several processes at the same time', async () => {
    const names = ['one', 'two', 'three']
    // Enough for the processes to meet: they start up one after the other.
    const rounds = 500
    const child = join(import.meta.dirname, 'sqlite_child.ts')
    const outputs = await Promise.all(
      names.map((name) => promisify(execFile)(process.execPath, [child, path, name, String(rounds)])),
    )
    const claims = outputs.map(({ stdout }) => Number(stdout))
    expect(claims.reduce((sum, count) => sum + count, 0)).toBe(rounds)
    const store = openSqliteLeases(path, Date)
    try {
      const listing = await store.list('demo.Hello')
      const weights = 'instances' in listing ? listing.instances.map(({ id, weight }) => [id, weight]) : []
      expect(weights.filter(([id]) => !String(id).endsWith('-brief'))).toEqual([['one', rounds - 1], ['shared', 1], [
        'three',
        rounds - 1,
      ], ['two', rounds - 1]])
    } finally {
      await store.close()
    }
  })

  it('is unavailable if it cannot be opened, and says which file', () => {
    expect(() => openSqliteLeases(join(folder, 'missing', 'shoal.db'), Date)).toThrow(
      expect.objectContaining({ code: 'unavailable', message: expect.stringContaining('shoal.db') }),
    )
    expect(() => openSqliteOnce(import.meta.filename, Date)).toThrow(
      expect.objectContaining({ code: 'unavailable', message: expect.stringContaining('not a database') }),
    )
  })

  it('is unavailable once closed; closing twice is harmless', async () => {
    const store = openSqliteLeases(path, Date)
    await store.close()
    await store.close()
    for (
      const call of [
        store.renew([instance()]),
        store.list('demo.Hello'),
        store.services(),
        store.leave('demo.Hello', 'a', 'first'),
      ]
    ) {
      expect((await refusal(call)).code).toBe('unavailable')
    }
  })
})
