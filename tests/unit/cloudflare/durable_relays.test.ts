import { beforeEach, describe, expect, it } from 'vitest'
import { durableRelays } from '../../../functions/gateway/durable_relays.ts'
import { sumMetrics } from '../../../functions/gateway/sum_metrics.ts'
import { leasesOf } from '../../../functions/relay/env.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { verifyEnrolToken } from '../../../shared/relay/enrol_token.ts'
import type { LeaseStore } from '../../../shared/stores/lease_store.ts'
import { openSqliteLeases } from '../../../shared/stores/sqlite_store.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { refusal } from '../../conformance/expectations.ts'
import { parseMetrics } from '../../conformance/gateway_metrics.ts'

const SECRET = 'a secret of the deployment'

describe('the relays of a deployment', () => {
  let leases: LeaseStore
  beforeEach(() => {
    leases = openSqliteLeases(':memory:', new FakeClock())
    return () => leases.close()
  })

  const register = (id: string, workers: number) =>
    leases.renew([{
      id,
      service: 'shoal.Pool',
      version: '1.0.0',
      group: 'default',
      address: { kind: 'relay', name: id },
      incarnation: 'life_1',
      ttlMs: 60_000,
      weight: workers,
      zone: '',
    }])
  /** @param answer what a relay answers to a request for its metrics */
  const open = (
    vars: { RELAYS?: string; SHOAL_SECRET?: string },
    options: { random?: number; leases?: Pick<LeaseStore, 'list'>; answer?: (name: string) => Promise<Response> } = {},
  ) => {
    const asked: string[] = []
    const RELAY = {
      getByName: (name: string) => ({
        fetch() {
          asked.push(name)
          return options.answer?.(name) ?? Promise.reject(new Error('nobody was to be asked'))
        },
      }),
    }
    const deps = { leases: options.leases ?? leases, random: () => options.random ?? 0 }
    return { ...durableRelays({ SHOAL_SECRET: SECRET, RELAY, ...vars }, deps), asked }
  }

  it('are as many as RELAYS says, one by default, and no other name is reached', () => {
    expect(open({}).reachRelay('relay-0')).toBeDefined()
    expect(open({}).reachRelay('relay-1')).toBeUndefined()
    const { reachRelay } = open({ RELAYS: '3' })
    const names = ['relay-0', 'relay-2', 'relay-3', 'relay-00', 'relay-', 'relay_1', '__proto__', '']
    expect(names.filter((name) => reachRelay(name))).toEqual(['relay-0', 'relay-2'])
  })

  it('cannot be none, nor a number that is not one', () => {
    for (const RELAYS of ['0', '-1', '1.5', 'many', '', '1e9']) {
      expect(() => open({ RELAYS }), RELAYS).toThrow(/RELAYS: it must be a whole number from 1/)
    }
  })

  it('get new workers in turn: the emptiest first, one of several by chance', async () => {
    const relayOf = async (random: number) => (await open({ RELAYS: '3' }, { random }).relays.enrol(false)).relay
    expect([await relayOf(0), await relayOf(0.5), await relayOf(0.99)]).toEqual(['relay-0', 'relay-1', 'relay-2'])
    await register('relay-0', 5)
    await register('relay-1', 2)
    expect(await relayOf(0.5)).toBe('relay-2')
    await register('relay-2', 3)
    expect(await relayOf(0.99)).toBe('relay-1')
  })

  it('take workers while the registry is away', async () => {
    const { relays } = open({ RELAYS: '2' }, { random: 0.99, leases: leasesOf({}) })
    expect((await relays.enrol(false)).relay).toBe('relay-1')
  })

  it('give a token for the relay that they name', async () => {
    const { relay, token } = await open({ RELAYS: '2' }, { random: 0.99 }).relays.enrol(false)
    expect((await verifyEnrolToken(SECRET, relay, token)).relay).toBe('relay-1')
  })

  it('enrol nobody without a secret, and say so', async () => {
    const error = await refusal(open({ SHOAL_SECRET: '' }).relays.enrol(false))
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('SHOAL_SECRET must be set')])
  })

  it('give the metrics of those that have workers, and leave out who does not answer', async () => {
    await register('relay-0', 1)
    await register('relay-1', 1)
    await register('relay-of-someone-else', 1)
    const { relays, asked } = open({ RELAYS: '3' }, {
      answer: async (name) => {
        if (name === 'relay-1') throw new Error('overloaded')
        return new Response('# TYPE a gauge\na 1\n')
      },
    })
    expect(await relays.metrics?.()).toEqual(['# TYPE a gauge\na 1\n'])
    expect(asked).toEqual(['relay-0', 'relay-1'])
  })

  it('say what is missing when no store is set', async () => {
    const error = await refusal(leasesOf({ UPSTASH_REDIS_REST_URL: 'https://redis.example' }).services())
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('REST_TOKEN must be set')])
  })
})

describe('metrics of several processes', () => {
  it('add up, series by series, and stay what Prometheus reads', () => {
    const [one, two] = [new Metrics(), new Metrics()]
    one.count('calls_total', { code: 'ok' }, 2)
    two.count('calls_total', { code: 'ok' }, 3)
    two.count('calls_total', { code: 'a b" c' })
    one.gauge('workers', () => 4)
    two.gauge('workers', () => 5)
    one.observeSeconds('run_seconds', 0.1)
    two.observeSeconds('run_seconds', 0.2)
    two.count('only_here_total')
    const families = parseMetrics(sumMetrics([one.render(), two.render()]))
    expect(Object.fromEntries(families.get('calls_total')?.samples ?? [])).toEqual({
      'calls_total{code="ok"}': 5,
      'calls_total{code="a b\\" c"}': 1,
    })
    expect(families.get('workers')).toEqual({ type: 'gauge', samples: new Map([['workers', 9]]) })
    expect(families.get('run_seconds')?.samples.get('run_seconds_count')).toBe(2)
    expect(families.get('run_seconds')?.samples.get('run_seconds_sum')).toBeCloseTo(0.3)
    expect(families.get('only_here_total')?.samples.get('only_here_total')).toBe(1)
    expect(sumMetrics([one.render()])).toBe(one.render())
  })
})
