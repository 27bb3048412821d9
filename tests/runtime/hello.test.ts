import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Hello } from '../../functions/hello/contract.ts'
import { createClient } from '../../shared/rpc/create_client.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { startInProcess } from '../conformance/start_node_gateway.ts'
import { ROOT, startProcess } from '../fixtures/process.ts'
import { bundleModule, WORKERD } from './bundle_module.ts'

interface Listed {
  instances: { id: string; version: string; ttlMs: number; incarnation: string; address: { url: string } }[]
}

/** What the gateway lists of demo.Hello; undefined while it knows of none. */
async function listed(gateway: string): Promise<Listed['instances'] | undefined> {
  const response = await fetch(`${gateway}/registry/services/demo.Hello`)
  return response.ok ? (await response.json() as Listed).instances : undefined
}

async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 20))
}

describe('the hello function', () => {
  let gateway: { url: string; close(): Promise<void> }
  beforeAll(async () => {
    gateway = await startInProcess([])
  })
  afterAll(() => gateway.close())

  const client = () => createClient(Hello, { gateway: gateway.url })
  /** Calls it by name. The gateway's own table may be a second behind the registry that it lists from. */
  const sayHello = async (name: string): Promise<string> => {
    for (;;) {
      try {
        return (await client().sayHello({ name })).message
      } catch (thrown) {
        if (!(thrown instanceof RpcError) || !['not_found', 'unavailable'].includes(thrown.code)) throw thrown
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }

  it('as a process: registers itself, is called by name, leaves when it ends', async () => {
    const hello = startProcess(process.execPath, ['functions/hello/node.ts'], { env: { SHOAL_GATEWAY: gateway.url } })
    try {
      const [, url] = await hello.wrote(/hello ready (\S+)\n/)
      const [instance] = await listed(gateway.url) ?? []
      expect(instance).toMatchObject({ version: '1.0.0', ttlMs: DEFAULTS.functionLeaseMs, address: { url } })
      expect(await sayHello('sea')).toBe('hello sea')
      await expect(client().sayHello({ name: '' })).rejects.toMatchObject({ code: 'invalid_argument' })
    } finally {
      expect((await hello.stop()).code).toBe(0)
    }
    await eventually(async () => await listed(gateway.url) === undefined)
  })

  it('without a gateway: serves, and is registered nowhere', async () => {
    const hello = startProcess(process.execPath, ['functions/hello/node.ts'], { env: { SHOAL_GATEWAY: '' } })
    try {
      const [, url = ''] = await hello.wrote(/hello ready (\S+)\n/)
      expect(await createClient(Hello, { gateway: url }).sayHello({ name: 'sea' })).toEqual({ message: 'hello sea' })
      expect(await listed(gateway.url)).toBeUndefined()
    } finally {
      await hello.stop()
    }
  })

  it.for([[process.execPath, 'functions/hello/node.ts'], ['deno', 'run', '-A', 'functions/hello/deno.ts']])(
    'on a port that is in use it says so: %s',
    async ([command = '', ...args]) => {
      const { port } = new URL(gateway.url)
      const { code, stderr } = await startProcess(command, args, { env: { SHOAL_GATEWAY: '', PORT: port } }).ended
      expect(code).toBe(1)
      expect(stderr).toContain(`Cannot listen on 127.0.0.1:${port}: the port must be free`)
    },
  )

  const REGISTERS: Record<string, (hello: Miniflare, url: string) => Promise<unknown>> = {
    'a cron tick': async (hello) => await (await hello.getWorker()).scheduled({ cron: '* * * * *' }),
    'a call': async (_hello, url) => await createClient(Hello, { gateway: url }).sayHello({ name: 'traffic' }),
  }
  for (const [what, register] of Object.entries(REGISTERS)) {
    it(`in workerd: ${what} registers it, and it is called by name`, async () => {
      const { hello, url } = await startInWorkerd(gateway.url)
      try {
        const own = async () => (await listed(gateway.url))?.find(({ address }) => address.url === url)
        expect(await own()).toBeUndefined()
        await register(hello, url)
        await eventually(async () => await own() !== undefined)
        expect(await own()).toMatchObject({ incarnation: 'one', ttlMs: DEFAULTS.functionLeaseMs })
        expect(await sayHello('workerd')).toBe('hello workerd')
      } finally {
        await hello.dispose()
      }
      // A function does not know that it ends. Its lease would run out; the next test must not wait for that.
      const query = `service=demo.Hello&incarnation=one`
      await fetch(`${gateway.url}/registry/instances/demo.Hello@${new URL(url).host}?${query}`, { method: 'DELETE' })
    })
  }
})

/** The function as wrangler would deploy it, told of its own address. */
async function startInWorkerd(gateway: string): Promise<{ hello: Miniflare; url: string }> {
  const script = await bundleModule(join(ROOT, 'functions/hello/hello.ts'), WORKERD, ['cloudflare:*', 'node:*'])
  const start = (bindings: Record<string, string>, port: number) =>
    new Miniflare(convertV4MiniflareOptions({
      modules: true,
      script,
      compatibilityDate: '2026-11-01',
      compatibilityFlags: ['nodejs_compat'],
      host: '127.0.0.1',
      port,
      bindings,
      cf: false,
    }))
  // A deployed function's address is known before it starts: a first start finds a free port for the second.
  const scout = start({}, 0)
  const { port } = await scout.ready
  await scout.dispose()
  const url = `http://127.0.0.1:${port}`
  const hello = start({ SHOAL_GATEWAY: gateway, SHOAL_URL: url, SHOAL_DEPLOYMENT: 'one' }, Number(port))
  await hello.ready
  return { hello, url }
}
