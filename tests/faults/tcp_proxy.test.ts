import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { eventually } from '../conformance/expectations.ts'
import { TcpProxy } from './tcp_proxy.ts'

let server: Server
let proxy: TcpProxy
const clients: Socket[] = []

beforeEach(async () => {
  // Echoes; and says goodbye when the other side has.
  server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  proxy = await TcpProxy.to(address && typeof address === 'object' ? address.port : 0)
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await proxy[Symbol.asyncDispose]()
  await new Promise((resolve) => server.close(resolve))
})

async function open() {
  const socket = connect(proxy.port, '127.0.0.1')
  clients.push(socket)
  let text = ''
  let closed = false
  socket.on('data', (bytes) => text += bytes).on('error', () => {}).on('close', () => closed = true)
  // A reset may come before this side has noticed that it is connected.
  await once(socket, 'connect').catch(() => {})
  return {
    socket,
    text: () => text,
    says: (expected: string) => eventually(async () => text === expected),
    closes: () => eventually(async () => closed),
    isClosed: () => closed,
  }
}

describe('the fault proxy', () => {
  it('passes bytes both ways, whole and in order, and each end of the connection', async () => {
    const client = await open()
    const long = 'x'.repeat(1_000_000) + 'end'
    client.socket.write('one ')
    client.socket.end(long)
    await client.closes()
    expect(client.text()).toBe(`one ${long}`)
  })

  it('delays, and keeps the order', async () => {
    const client = await open()
    proxy.set({ delayMs: 40 })
    client.socket.write('late ')
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(client.text()).toBe('')
    proxy.set({})
    client.socket.write('later')
    await client.says('late later')
  })

  it('cuts answers off after so many bytes, on each new connection', async () => {
    proxy.set({ truncateAt: 5 })
    for (let i = 0; i < 2; i++) {
      const client = await open()
      client.socket.write('123')
      await client.says('123')
      client.socket.write('456789')
      await client.closes()
      expect(client.text()).toBe('12345')
    }
  })

  it('drops the connections there are, and refuses new ones', async () => {
    const client = await open()
    client.socket.write('here')
    await client.says('here')
    proxy.drop()
    await client.closes()
    proxy.set({ refuse: true })
    await (await open()).closes()
    proxy.set({})
    const again = await open()
    again.socket.write('well')
    await again.says('well')
    expect(proxy.connections).toBe(3)
  })

  it('leaves connections half open: neither bytes nor ends come through, new ones are sound', async () => {
    const client = await open()
    client.socket.write('heard')
    await client.says('heard')
    proxy.halfOpen()
    client.socket.write('lost')
    const other = await open()
    other.socket.write('sound')
    await other.says('sound')
    expect([client.text(), client.isClosed()]).toEqual(['heard', false])
  })
})
