import { expect, it } from 'vitest'
import { createClient } from '../../shared/create_client.ts'
import { defineService } from '../../shared/rpc/contract.ts'
import { eventually, refusal } from './expectations.ts'
import { Echo, type EchoFunction, startEcho } from './gateway_echo.ts'
import { ask } from './gateway_http.ts'

/** Callers that read the gateway's registry and call the instances themselves. */
export function directCases(at: () => string): void {
  const contractOf = (name: string) => defineService({ ...Echo, name })
  const register = async ({ record }: EchoFunction) =>
    expect((await ask(at(), 'POST', '/registry/instances', { json: record })).status).toBe(201)
  const leave = ({ record: { id, service, incarnation } }: EchoFunction) =>
    ask(at(), 'DELETE', `/registry/instances/${id}?${new URLSearchParams({ service, incarnation } as never)}`)

  it('calls the instances at their own addresses, balanced, by version and group', async () => {
    const contract = contractOf('demo.Direct')
    await using one = await startEcho('demo.Direct')
    await using two = await startEcho('demo.Direct')
    await using blue = await startEcho('demo.Direct', { group: 'blue' })
    for (const echo of [one, two, blue]) await register(echo)
    const client = createClient(contract, { registry: at(), codec: 'json' })
    const hosts = new Set<string>()
    for (let i = 0; i < 40; i++) {
      const { headers } = await client.echo({ text: 'sea' })
      hosts.add(headers.host ?? '')
    }
    expect([...hosts].sort()).toEqual([one, two].map(({ url }) => new URL(url).host).sort())
    const other = createClient(contract, { registry: at(), codec: 'json', group: 'blue' })
    expect((await other.echo({ text: 'sea' })).copy).toBe(blue.record.id)
    const newer = createClient(contract, { registry: at(), codec: 'json', version: '^2.0.0' })
    expect((await refusal(newer.echo({ text: 'sea' }))).code).toBe('failed_precondition')
    for (const echo of [one, two, blue]) await leave(echo)
  })

  it('hears of instances that come and go', async () => {
    const contract = contractOf('demo.Moving')
    const done = new AbortController()
    const client = createClient(contract, { registry: at(), codec: 'json', watchUntil: done.signal })
    const reached = async () => (await client.echo({ text: 'sea' })).copy
    expect((await refusal(reached())).code).toBe('not_found')
    await using one = await startEcho('demo.Moving')
    await register(one)
    await eventually(() => reached().then((id) => id === one.record.id, () => false))
    await using two = await startEcho('demo.Moving')
    await register(two)
    await eventually(async () => await reached() === two.record.id)
    // It leaves, and then is gone: by then nobody is sent there, and no call fails for it.
    await leave(one)
    await eventually(async () => {
      const ids = await Promise.all(Array.from({ length: 10 }, reached))
      return ids.every((id) => id === two.record.id)
    })
    await one.close()
    for (let i = 0; i < 10; i++) expect(await reached()).toBe(two.record.id)
    await leave(two)
    done.abort()
  })
}
