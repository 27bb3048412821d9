import { expect, it } from 'vitest'
import { createClient, registryTransport } from '../../shared/create_client.ts'
import { newId } from '../../shared/base/random.ts'
import { openSqliteLeases } from '../../shared/stores/sqlite_store.ts'
import { refusal } from '../conformance/expectations.ts'
import { Echo, startEcho } from '../conformance/gateway_echo.ts'
import { ask } from '../conformance/gateway_http.ts'
import { startInProcess } from '../conformance/start_node_gateway.ts'

it('goes on calling what it knows when the registry is away', async () => {
  const gateway = await startInProcess([])
  await using echo = await startEcho(Echo.name)
  await ask(gateway.url, 'POST', '/registry/instances', { json: echo.record })
  const client = createClient(Echo, { registry: gateway.url, codec: 'json' })
  expect((await client.echo({ text: 'sea' })).copy).toBe(echo.record.id)
  await gateway.close()
  // The table is a second old by then, and asking for news of it fails.
  await new Promise((resolve) => setTimeout(resolve, 1100))
  for (let i = 0; i < 3; i++) expect((await client.echo({ text: 'sea' })).copy).toBe(echo.record.id)
})

it('says that the registry is away where it knows nothing', async () => {
  const client = createClient(Echo, { registry: 'http://127.0.0.1:9' })
  const { code, message } = await refusal(client.echo({ text: 'sea' }))
  expect([code, message]).toEqual(['unavailable', 'Cannot read the registry: http://127.0.0.1:9 does not answer'])
  expect(() => createClient(Echo, { registry: 'nowhere' })).toThrow('expected an absolute URL, got "nowhere"')
})

it('reads a store itself, and several clients share one table of it', async () => {
  const leases = openSqliteLeases(':memory:', Date)
  await using echo = await startEcho(Echo.name)
  const { url } = echo
  await leases.renew([{
    ...{ id: 'one', service: Echo.name, version: '1.4.0', group: 'default', incarnation: newId('life') },
    ...{ ttlMs: 60_000, weight: 1, zone: '', address: { kind: 'url', url } },
  }])
  let asked = 0
  const counting = { list: (...args: Parameters<typeof leases.list>) => (asked++, leases.list(...args)) }
  const transport = registryTransport({ registry: counting, codec: 'json' })
  const [first, second] = [createClient(Echo, { transport }), createClient(Echo, { transport })]
  await Promise.all([first.echo({ text: 'a' }), second.echo({ text: 'b' })])
  expect([asked, echo.calls]).toEqual([1, 2])
  transport.close()
  await leases.close()
})

it('cannot call a relay’s workers, which have no address', async () => {
  const leases = openSqliteLeases(':memory:', Date)
  await leases.renew([{
    ...{ id: 'relay', service: Echo.name, version: '1.0.0', group: 'default', incarnation: newId('life') },
    ...{ ttlMs: 60_000, weight: 1, zone: '', address: { kind: 'relay', name: 'relay' } },
  }])
  const { code, message } = await refusal(
    createClient(Echo, { registry: leases }).echo({ text: 'sea' }, { timeoutMs: 200 }),
  )
  expect([code, message]).toEqual(['unavailable', expect.stringContaining('can be reached')])
  await leases.close()
})
