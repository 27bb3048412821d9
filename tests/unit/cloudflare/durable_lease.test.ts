import { beforeEach, describe, expect, it } from 'vitest'
import { DurableLease } from '../../../functions/relay/durable_lease.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { silentLog } from '../../../shared/base/log.ts'
import type { LeaseStore } from '../../../shared/stores/lease_store.ts'
import { openSqliteLeases } from '../../../shared/stores/sqlite_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'

const POOL = 'shoal.Pool'

describe('the lease of a relay that sleeps', () => {
  let clock: FakeClock
  let leases: LeaseStore
  let kept: Map<string, unknown>
  beforeEach(() => {
    clock = new FakeClock()
    leases = openSqliteLeases(':memory:', clock)
    kept = new Map()
    return () => leases.close()
  })

  /** The object in a new life in memory, on the same storage. */
  const wake = (store: Pick<LeaseStore, 'renew' | 'leave'> = leases) =>
    new DurableLease({
      name: 'relay-0',
      leases: store,
      storage: {
        kv: {
          get: <T>(key: string) => kept.get(key) as T | undefined,
          put: (key, value) => void kept.set(key, value),
          delete: (key) => kept.delete(key),
          list: () => kept as Map<string, never>,
        },
      },
      log: silentLog,
    })
  const listed = async () => {
    const listing = await leases.list(POOL)
    return 'instances' in listing ? listing.instances : []
  }

  it('is listed with its number of workers, as a relay that gateways reach by name', async () => {
    await wake().enter(3)
    expect(await listed()).toMatchObject([
      { id: 'relay-0', address: { kind: 'relay', name: 'relay-0' }, weight: 3, ttlMs: DEFAULTS.durableRelayLeaseMs },
    ])
  })

  it('lasts from beat to beat, however often the object wakes anew, without anybody seeing a change', async () => {
    await wake().enter(1)
    const [first] = await listed()
    const { revision } = await leases.list(POOL)
    for (let i = 0; i < 10; i++) {
      await clock.advance(DEFAULTS.durableRelayBeatMs * (1 + DEFAULTS.beatJitter))
      await wake().beat(1)
    }
    expect(await leases.list(POOL, revision)).toMatchObject({ unchanged: true })
    expect(await listed()).toMatchObject([{ incarnation: first?.incarnation }])
  })

  it('ends at once, in a later life too, and then does not beat', async () => {
    await wake().enter(1)
    const lease = wake()
    expect(lease.held).toBe(true)
    await lease.leave()
    expect([lease.held, wake().held, await listed()]).toEqual([false, false, []])
    await wake().beat(1)
    await wake().leave()
    expect(await listed()).toEqual([])
  })

  it('begins a new life each time it enters', async () => {
    await wake().enter(1)
    const [first] = await listed()
    await wake().leave()
    await wake().enter(1)
    const [second] = await listed()
    expect(second?.incarnation).not.toBe(first?.incarnation)
  })

  it('takes a new life when the store holds the old one to be over', async () => {
    await wake().enter(1)
    const [first] = await listed()
    await leases.leave(POOL, 'relay-0', first?.incarnation ?? '')
    await wake().beat(2)
    const [second] = await listed()
    expect(second).toMatchObject({ id: 'relay-0', weight: 2 })
    expect(second?.incarnation).not.toBe(first?.incarnation)
    // It is kept: the next beat changes nothing.
    await wake().beat(2)
    expect((await listed())[0]?.incarnation).toBe(second?.incarnation)
  })

  it('is registered by a later beat if the store was away at first', async () => {
    const away = async () => {
      throw new RpcError('unavailable', 'Cannot use the store: it must be reachable')
    }
    const lease = wake({ renew: away, leave: away })
    await lease.enter(1)
    expect([lease.held, await listed()]).toEqual([true, []])
    await wake().beat(1)
    expect(await listed()).toHaveLength(1)
  })

  it('sends what it has to say in order, though the store is slow', async () => {
    const answers: (() => void)[] = []
    const slow: Pick<LeaseStore, 'renew' | 'leave'> = {
      async renew(instances) {
        await new Promise<void>((resolve) => answers.push(resolve))
        return await leases.renew(instances)
      },
      leave: (service, id, incarnation) => leases.leave(service, id, incarnation),
    }
    const lease = wake(slow)
    const [entered, left] = [lease.enter(1), lease.leave()]
    await clock.advance(0)
    answers.shift()?.()
    await Promise.all([entered, left])
    expect(await listed()).toEqual([])
  })
})
