import { once } from 'node:events'
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net'
import { expect, it } from 'vitest'
import { Hello } from '../../functions/hello/contract.ts'
import { createClient } from '../../shared/create_client.ts'
import { clientOver } from '../../shared/rpc/client.ts'
import { connectWebSocket } from '../../shared/rpc/transports/websocket.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { openSocket } from '../../functions/worker/node_socket.ts'
import { startProcess } from '../fixtures/process.ts'
import { eventually, refusal } from './expectations.ts'
import { Probe, reached, startProbe } from './gateway_function.ts'
import { ask } from './gateway_http.ts'
import { handshake } from './socket_handshake.ts'
import { denoPath } from './start_deno_gateway.ts'

/** Sockets between a gateway and functions: who may open one, and what becomes of calls when it breaks. */
export function socketCases(at: () => string): void {
  const client = () => clientOver(Probe, { transport: fetchTransport(at()) })

  it('is opened by gateways and by callers who show no page and no wrong token', async () => {
    const probe = await startProbe(at(), 'socket')
    const url = `${probe.running.url.replace('http', 'ws')}/rpc`
    try {
      expect(await handshake(url, ['shoal.v1'], {})).toBe('open')
      const wrong = { authorization: `Bearer ${'0'.repeat(64)}` }
      expect(await handshake(url, ['shoal.v1'], wrong)).toBe(401)
      expect(await handshake(url, ['shoal.v1'], { origin: 'https://elsewhere.example' })).toBe(403)
      expect(await handshake(url, ['other'], {})).toBe(426)
      expect(await handshake(url.replace('/rpc', '/elsewhere'), ['shoal.v1'], {})).toBe(404)
      // Whoever is no gateway may call, but not on another's behalf.
      const transport = await connectWebSocket(url, openSocket)
      const send: typeof transport.send = (request) => transport.send({ ...request, caller: 'someone else' })
      const direct = clientOver(Probe, { transport: { ...transport, send } })
      expect((await direct.context({})).caller).toBeUndefined()
      transport.close()
    } finally {
      await probe.running.stop()
    }
  })

  it('calls over HTTP while a socket cannot be opened, and over a new one after it broke', async () => {
    // Between the two stands a proxy that may refuse upgrades and cut connections.
    const cut = new Set<Socket>()
    let takesUpgrades = false
    const proxy = createNetServer((incoming) => {
      incoming.once('data', (first) => {
        if (!takesUpgrades && /^GET \/rpc /.test(first.toString('latin1'))) return void incoming.destroy()
        const outgoing = connect(probe.running.port, '127.0.0.1')
        for (const end of [incoming, outgoing]) cut.add(end.on('error', () => {}))
        outgoing.write(first)
        incoming.pipe(outgoing).pipe(incoming)
        for (const end of [incoming, outgoing]) {
          end.once('close', () => {
            incoming.destroy()
            outgoing.destroy()
          })
        }
      })
      incoming.on('error', () => {})
    }).listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    const probe = await startProbe(at(), 'socket', { SHOAL_URL: url })
    try {
      await reached(probe, 'http', () => client().echo({ text: 'sea' }))
      const before = probe.overHttp
      await client().echo({ text: 'sea' })
      expect([probe.overHttp - before, probe.app.sockets.size]).toEqual([1, 0])

      takesUpgrades = true
      await reached(probe, 'socket', () => client().echo({ text: 'sea' }))
      const lost = refusal(client().wait({ name: 'lost' }, { timeoutMs: 20_000 }))
      await eventually(() => Promise.resolve(probe.waiting.has('lost')))
      for (const socket of cut) socket.destroy()
      const { code, neverSent } = await lost
      expect([code, neverSent]).toEqual(['unavailable', false])
      await eventually(() => Promise.resolve(probe.stopped.includes('lost')))
      // Nothing fails meanwhile, and then there is a socket again.
      await eventually(async () => {
        expect(await client().echo({ text: 'sea' })).toEqual({ text: 'sea' })
        return probe.app.sockets.size > 0
      })
    } finally {
      await probe.running.stop()
      for (const socket of cut) socket.destroy()
      proxy.close()
    }
  })

  it('is kept by clients of the registry that live on', async () => {
    const probe = await startProbe(at(), 'socket')
    const done = new AbortController()
    try {
      const direct = createClient(Probe, { registry: at(), watchUntil: done.signal })
      await reached(probe, 'socket', () => direct.echo({ text: 'sea' }))
      const before = probe.overHttp
      expect(await direct.echo({ text: 'sea' })).toEqual({ text: 'sea' })
      expect(probe.overHttp).toBe(before)
    } finally {
      done.abort()
      await eventually(() => Promise.resolve(probe.app.sockets.size === 0))
      await probe.running.stop()
    }
  })

  it('is taken by functions on Deno too', async () => {
    const hello = startProcess(await denoPath(), ['run', '-A', '--no-lock', 'functions/hello/deno.ts'], {
      env: { SHOAL_GATEWAY: at() },
    })
    try {
      const [, url = ''] = await hello.wrote(/hello ready (\S+)\n/)
      const { json } = await ask(at(), 'GET', `/registry/services/${Hello.name}`)
      expect(json.instances).toMatchObject([{ address: { kind: 'url', url, sockets: true } }])
      const socket = `${url.replace('http', 'ws')}/rpc`
      expect(await handshake(socket, ['shoal.v1'], { origin: 'https://elsewhere.example' })).toBe(403)
      expect(await handshake(socket, ['shoal.v1'], { authorization: 'Bearer wrong' })).toBe(401)
      const transport = await connectWebSocket(socket, openSocket)
      expect(await clientOver(Hello, { transport }).sayHello({ name: 'sea' })).toEqual({ message: 'hello sea' })
      transport.close()
      const through = clientOver(Hello, { transport: fetchTransport(at()) })
      await eventually(() => through.sayHello({ name: 'sea' }).then(() => true, () => false))
      for (let n = 0; n < 50; n++) {
        expect(await through.sayHello({ name: `n${n}` })).toEqual({ message: `hello n${n}` })
      }
    } finally {
      expect((await hello.stop()).code).toBe(0)
    }
  })
}
