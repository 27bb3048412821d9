import { expect, it } from 'vitest'
import { WebSocket as HeaderSocket } from 'ws'
import { LIMITS } from '../../shared/base/limits.ts'
import { SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { encodeFrame } from '../../shared/wire/frame.ts'
import { eventually } from './expectations.ts'
import { enrol, greet, hello, joinHeldWorker, socketUrl } from './gateway_held_worker.ts'
import { ask, askRaw } from './gateway_http.ts'

interface Listed {
  id: string
  name: string
  relay: string
}

/** Opens a socket, sends `message` once it is open, and resolves with how it was closed. */
export async function closeOf(url: string, message?: Uint8Array<ArrayBuffer> | string): Promise<{ code: number }> {
  const { connect } = await enrol(url)
  const socket = new WebSocket(socketUrl(url, connect), SUBPROTOCOL)
  if (message !== undefined) socket.addEventListener('open', () => socket.send(message))
  return await new Promise((resolve) => socket.addEventListener('close', resolve))
}

/** @param silent how a socket that said nothing was closed */
export function workerCases(at: () => string, silent: () => Promise<{ code: number }>): void {
  const listed = async (name: string): Promise<Listed[]> =>
    (await ask(at(), 'GET', '/workers')).json.workers.filter((worker: Listed) => worker.name === name)

  const closing = (message: Uint8Array<ArrayBuffer> | string) => closeOf(at(), message)

  it('enrols a worker, lists it, and lets it go at its goodbye', async () => {
    const enrolment = await enrol(at())
    expect(enrolment).toMatchObject({
      token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
      expiresInMs: expect.any(Number),
      connect: `/relay/connect?relay=${encodeURIComponent(enrolment.relay)}`,
    })
    const worker = await joinHeldWorker(at(), { name: 'comes and goes' })
    await eventually(async () => (await listed('comes and goes')).length === 1)
    expect(await listed('comes and goes')).toEqual([expect.objectContaining({
      id: worker.id,
      device: 'wasm',
      adapter: 'none',
      reason: 'held by a test',
      draining: false,
      inFlight: 0,
      served: 0,
      models: [],
    })])
    worker.socket.peer.control('goodbye', { reason: 'done' })
    expect((await worker.socket.closed).code).toBe(1000)
    await eventually(async () => (await listed('comes and goes')).length === 0)
  })

  it('shows what a worker says of itself as text, whatever it says', async () => {
    const name = '<img src=x onerror=alert(1)>\r\nset-cookie: a=b'
    const worker = await joinHeldWorker(at(), { name })
    const answer = await ask(at(), 'GET', '/workers')
    expect(answer.headers.get('content-type')).toContain('application/json')
    expect(answer.headers.get('set-cookie')).toBeNull()
    expect(await listed(name)).toHaveLength(1)
    worker.socket.close(1000, 'done')
  })

  it('takes a token once', async () => {
    const { token, connect } = await enrol(at())
    const first = await greet(at(), connect, { token })
    await expect(greet(at(), connect, { token })).rejects.toThrow(/closed with 1008 .*used before/)
    first.socket.close(1000, 'done')
    // Not even when the first to use it has gone.
    await expect(greet(at(), connect, { token })).rejects.toThrow(/closed with 1008 .*used before/)
  })

  it('takes no token but its own', async () => {
    const { token, connect } = await enrol(at())
    const [head = '', claims = '', signature = ''] = token.split('.')
    const coded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const said = JSON.parse(Buffer.from(claims, 'base64url').toString())
    for (
      const forged of [
        '',
        'garbage',
        `${coded({ alg: 'none' })}.${claims}.`,
        `${coded({ alg: 'HS512' })}.${claims}.${signature}`,
        `${head}.${coded({ ...said, jti: 'enrol_another' })}.${signature}`,
        `${head}.${coded({ ...said, exp: 9999999999 })}.${signature}`,
        `${head}.${claims}.${signature.slice(0, -4)}AAAA`,
      ]
    ) {
      await expect(greet(at(), connect, { token: forged })).rejects.toThrow(/closed with 1008 .*enrolment token/)
    }
    // A token that was only tried by forgers is still good.
    const { socket } = await greet(at(), connect, { token })
    socket.close(1000, 'done')
  })

  it('closes sockets that do not speak its protocol', async () => {
    expect((await closing('hello')).code).toBe(1003)
    expect((await closing(Uint8Array.of(1, 2, 3))).code).toBe(1002)
    const frame = (type: 'hello' | 'goodbye', header: Record<string, unknown>) =>
      encodeFrame({ type, id: 0, header, parts: [] })[0] as Uint8Array<ArrayBuffer>
    expect((await closing(frame('goodbye', { reason: 'x' }))).code).toBe(1002)
    expect((await closing(frame('hello', { token: 'x' }))).code).toBe(1002)
    expect((await closing(frame('hello', hello('x', 'n'.repeat(LIMITS.maxNameLength + 1))))).code).toBe(1002)
  })

  it('closes a socket that sends a frame over the cap with 1009', async () => {
    expect((await closing(new Uint8Array(LIMITS.maxFrameBytes + 1))).code).toBe(1009)
  })

  it('closes a socket that says no hello in time with 1008', async () => {
    expect((await silent()).code).toBe(1008)
  })

  it('opens sockets for its own pages and for programs, but for no other page', async () => {
    const { connect } = await enrol(at())
    const open = (origin?: string) =>
      new Promise<number>((resolve) => {
        const socket = new HeaderSocket(socketUrl(at(), connect), SUBPROTOCOL, { origin })
        socket.on('unexpected-response', (_request, response) => {
          resolve(response.statusCode ?? 0)
          socket.terminate()
        })
        socket.on('open', () => {
          resolve(101)
          socket.close(1000)
        })
        socket.on('error', () => {})
      })
    for (const origin of ['https://evil.example', 'http://localhost:1', 'null', `${at()}.evil.example`]) {
      expect([origin, await open(origin)]).toEqual([origin, 403])
    }
    expect(await open(at())).toBe(101)
    expect(await open()).toBe(101)
  })

  it('answers with the subprotocol of the workers', async () => {
    const { connect } = await enrol(at())
    const socket = new WebSocket(socketUrl(at(), connect), SUBPROTOCOL)
    await new Promise((resolve) => socket.addEventListener('open', resolve))
    expect(socket.protocol).toBe(SUBPROTOCOL)
    socket.close(1000)
  })

  it('opens no socket without a relay, at an unknown one, or without an upgrade', async () => {
    const upgrade = [
      'Upgrade: websocket',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
    ]
    const connect = (query: string) =>
      askRaw(at(), [`GET /relay/connect${query} HTTP/1.1`, 'Connection: Upgrade', ...upgrade])
    expect((await connect('')).status).toBe(400)
    expect((await connect('?relay=relay_0')).status).toBe(404)
    const { relay } = await enrol(at())
    const plain = await ask(at(), 'GET', `/relay/connect?relay=${relay}`)
    expect([plain.status, plain.json.detail]).toEqual([400, expect.stringContaining('WebSocket')])
  })
}
