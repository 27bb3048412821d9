import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { GatewayUnderTest } from '../../conformance/gateway_suite.ts'
import { startInProcess } from '../../conformance/start_node_gateway.ts'
import { buildWeb } from '../../../infra/build_web.ts'
import { runHere } from './in_process.ts'

describe('shoal services', () => {
  let gateway: GatewayUnderTest
  beforeAll(async () => {
    await buildWeb()
    gateway = await startInProcess([])
    for (const [id, version, zone, weight] of [['near', '1.2.0', 'north', 1], ['far', '2.0.0', '', 3]] as const) {
      const answer = await fetch(`${gateway.url}/registry/instances`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          ...{ id, service: 'demo.Listed', version, group: 'blue', zone, weight },
          ...{ url: `http://${id}.example/`, incarnation: 'first', ttlMs: 60_000 },
        }),
      })
      expect(answer.status, await answer.text()).toBeLessThan(300)
    }
  })
  afterAll(() => gateway.close())

  const run = async (...words: string[]) => await runHere(['services', ...words, '--gateway', gateway.url])
  const rowOf = (stdout: string, name: string) =>
    stdout.split('\n').find((line) => line.startsWith(`${name} `))?.split(/ {2,}/)

  it('lists the services with versions, groups, instances, suspects and the age of the table', async () => {
    const { stdout, line } = await run()
    expect(line).toBe('')
    const [service, versions, groups, instances, suspects, age] = rowOf(stdout, 'demo.Listed') ?? []
    expect([service, versions, groups, instances, suspects]).toEqual(['demo.Listed', '1.2.0 2.0.0', 'blue', '2', '0'])
    expect(age).toMatch(/^\d+\.\d s$/)
  })

  it('lists the instances of one, with version, group, zone, weight, last beat and address', async () => {
    const { stdout, line } = await run('demo.Listed')
    expect(line).toBe('')
    expect(rowOf(stdout, 'near')).toEqual([
      ...['near', '1.2.0', 'blue', 'north', '1'],
      ...[expect.stringMatching(/^\d+\.\d s ago$/), 'http://near.example/'],
    ])
    expect(rowOf(stdout, 'far')).toEqual([
      ...['far', '2.0.0', 'blue', '-', '3'],
      ...[expect.stringMatching(/^\d+\.\d s ago$/), 'http://far.example/'],
    ])
  })

  it('says so where there is none of that name', async () => {
    const { stdout, line } = await run('demo.Nobody')
    expect([stdout, line]).toEqual(['', 'shoal: Cannot list demo.Nobody: no instance of it is registered'])
  })
})
