import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import * as z from 'zod'
import { drainOf } from '../../functions/node_drain.ts'
import { runOnNode } from '../../functions/run_node.ts'
import { startHttpHost } from '../../functions/worker/http_host.ts'
import { NodeSocket } from '../../functions/worker/node_socket.ts'
import { silentLog } from '../../shared/base/log.ts'
import { serve } from '../../shared/registry/serve.ts'
import { defineService, unary } from '../../shared/rpc/contract.ts'
import { createClient } from '../../shared/rpc/create_client.ts'
import { connectWebSocket, SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { realTime } from '../conformance/expectations.ts'

const agents: Agent[] = []
afterEach(() => {
  for (const agent of agents.splice(0)) agent.destroy()
})

/** A caller with one connection, which it keeps as long as it may. */
function caller(url: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  agents.push(agent)
  return (method = 'GET', path = '/livez', body = '') =>
    new Promise<{ status: number | undefined; connection: string | undefined; text: string }>((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': body.length }
      const asked = request(url + path, { method, agent, headers }, async (answer: IncomingMessage) => {
        let text = ''
        for await (const part of answer.setEncoding('utf8')) text += part
        resolve({ status: answer.statusCode, connection: answer.headers.connection, text })
      })
      asked.on('error', reject)
      asked.end(body)
    })
}

/** Asks for something, reads the first byte of the answer, and the rest when it is told to. */
async function slowReader(url: string, text: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(text)
  await once(socket, 'readable')
  return async () => {
    let bytes = 0
    for await (const part of socket) bytes += part.length
    return bytes
  }
}

async function listening(answer: RequestListener) {
  const server = createServer(answer)
  const drain = drainOf(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { drain, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

const uncut = () => expect.unreachable('nothing was left to cut')

it('answers what comes on an open connection while it ends, as that connection’s last', async () => {
  const { drain, url } = await listening((_, outgoing) => outgoing.end('ok'))
  const ask = caller(url)
  expect(await ask()).toMatchObject({ status: 200, connection: 'keep-alive' })
  const ended = drain.end(60_000)
  expect(await ask()).toEqual({ status: 200, connection: 'close', text: 'ok' })
  await ended
  await drain.close(uncut)
  await expect(ask()).rejects.toThrow('ECONNREFUSED')
})

it('goes on serving when it leaves', async () => {
  const { drain, url } = await listening((_, outgoing) => outgoing.end('ok'))
  drain.leave()
  for (let i = 0; i < 2; i++) expect(await caller(url)()).toMatchObject({ status: 200, connection: 'close' })
  await drain.end(60_000)
  await drain.close(uncut)
})

it('ends when the last answer has been read, however long that is after it was given', async () => {
  const whole = Buffer.alloc(32 * 2 ** 20)
  const { drain, url } = await listening((_, outgoing) => outgoing.end(whole))
  const rest = await slowReader(url, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const over = drain.end(60_000).then(() => drain.close(uncut))
  await realTime(400)
  expect(await rest()).toBeGreaterThan(whole.length)
  await over
})

it('waits no longer than it was told to', async () => {
  const { promise: heard, resolve: onHeard } = Promise.withResolvers<void>()
  const { drain, url } = await listening(() => onHeard())
  const silent = connect(Number(new URL(url).port), '127.0.0.1')
  await once(silent, 'connect')
  const asked = caller(url)().catch((error) => error)
  await heard
  await drain.quiet(60_000, 50)
  await drain.end(50)
  await drain.close(uncut)
  expect(await asked).toMatchObject({ code: 'ECONNRESET' })
  if (!silent.destroyed) await once(silent.resume(), 'close')
})

it('is quiet when nobody has asked for a while', async () => {
  const { drain, url } = await listening((_, outgoing) => outgoing.end('ok'))
  await drain.quiet(60_000, 60_000)
  await caller(url)()
  let isQuiet = false
  const quiet = drain.quiet(60_000, 1_500).then(() => isQuiet = true)
  await realTime(20)
  expect(isQuiet).toBe(false)
  await quiet
  await drain.end(60_000)
  await drain.close(uncut)
})

it('a host answers what comes while it closes', async () => {
  const host = await startHttpHost({
    host: '127.0.0.1',
    port: 0,
    gateway: 'http://127.0.0.1:9',
    headers: {},
    log: silentLog,
  })
  const ask = caller(host.url)
  expect(await ask()).toMatchObject({ status: 200, connection: 'keep-alive' })
  const closed = host.close()
  expect(await ask()).toMatchObject({ status: 200, connection: 'close' })
  await closed
})

const Long = defineService({
  name: 'test.Long',
  version: '1.0.0',
  methods: { write: unary({ input: z.object({ bytes: z.number() }), output: z.object({ text: z.string() }) }) },
})

it('a function’s sockets end when its answers have been read', async () => {
  const served = serve(Long, { write: (input) => ({ text: 'x'.repeat(input.bytes) }) })
  const running = await runOnNode(served, { env: {} })
  const socket = new WebSocket(`${running.url.replace('http', 'ws')}/rpc`, SUBPROTOCOL)
  const client = createClient(Long, { transport: await connectWebSocket(running.url, () => new NodeSocket(socket)) })
  await client.write({ bytes: 1 })
  const bytes = 24 * 2 ** 20
  const answer = client.write({ bytes }, { timeoutMs: 60_000 })
  await once(socket, 'message')
  socket.pause()
  const stopped = running.stop()
  await realTime(1_500)
  socket.resume()
  expect((await answer).text.length).toBe(bytes)
  await stopped
})

it('a function ends when its answers have been read, and refuses what comes then as never begun', async () => {
  const bytes = 8 * 2 ** 20
  const served = serve(Long, { write: (input) => ({ text: 'x'.repeat(input.bytes) }) })
  const running = await runOnNode(served, { env: {} })
  const ask = caller(running.url)
  const small = JSON.stringify({ bytes: 1 })
  expect(await ask('POST', '/rpc/test.Long/write', small)).toMatchObject({ status: 200, connection: 'keep-alive' })
  const body = JSON.stringify({ bytes })
  const head = `POST /rpc/test.Long/write HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: `
  const rest = await slowReader(running.url, `${head}${body.length}\r\n\r\n${body}`)
  const stopped = running.stop()
  const late = await ask('POST', '/rpc/test.Long/write', small)
  expect([late.connection, JSON.parse(late.text)]).toMatchObject(['close', { code: 'unavailable' }])
  // Longer than sockets have to close: who reads slowly may take until the end of the drain.
  await realTime(1_500)
  expect(await rest()).toBeGreaterThan(bytes)
  await stopped
})
