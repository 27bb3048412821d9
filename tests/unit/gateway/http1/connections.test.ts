import { once } from 'node:events'
import { type AddressInfo, createServer, type LookupFunction, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls'
import { expect, it } from 'vitest'
import type { Answer } from '../../../../functions/gateway/http1/answer_reader.ts'
import type { Exchange } from '../../../../functions/gateway/http1/connection.ts'
import { Connections } from '../../../../functions/gateway/http1/connections.ts'
import { endOfHead, fieldLines, requestLine } from '../../../../functions/gateway/http1/request_head.ts'
import { TurnEnd } from '../../../../functions/gateway/turn_end.ts'
import { type Clock, FakeClock, systemClock } from '../../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../../shared/base/defaults.ts'
import { selfSigned } from '../../../fixtures/self_signed.ts'

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const NAME = 'service.example'
/** Far longer than the system takes to bring bytes from one end of a connection to the other. */
const BUSY_MS = 200

/** Every name is this machine's. */
const loopback: LookupFunction = (_name, options, callback) => {
  if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
  else callback(null, '127.0.0.1', 4)
}

/** @param request all of it */
type OnRequest = (socket: Socket, request: string, connection: number) => void

interface ServingOptions {
  tls?: { key: string; cert: string }
  /** Told of each request's first bytes instead of the whole. */
  early?: boolean
  /** The connections'; one that stands still by default. */
  clock?: Clock
}

interface Served extends AsyncDisposable {
  clock: FakeClock
  connections: Connections
  active: Set<Connections>
  /** What came of a request that is not whole, on each connection. */
  came: string[]
  sockets: Socket[]
  ask(body?: string): Asked
}

interface Asked {
  exchange: Exchange
  answer: Promise<Answer>
}

/** A server that says what it is told to, byte by byte, and connections to it. Disposing of it proves that none is left. */
async function serving(onRequest: OnRequest, { tls, early = false, ...options }: ServingOptions = {}): Promise<Served> {
  const came: string[] = []
  const sockets: Socket[] = []
  const onSocket = (socket: Socket) => {
    const number = sockets.push(socket) - 1
    came.push('')
    socket.on('error', () => {})
    socket.on('data', (data: Buffer) => {
      const request = (came[number] ?? '') + data.toString('latin1')
      came[number] = request
      const [head = '', body = ''] = request.split('\r\n\r\n')
      if (!early && body.length < Number(/content-length: (\d+)/.exec(head)?.[1] ?? NaN)) return
      came[number] = ''
      onRequest(socket, request, number)
    })
  }
  const server: Server = tls ? createTlsServer(tls, onSocket) : createServer(onSocket)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const clock = new FakeClock()
  const active = new Set<Connections>()
  const endpoint = { tls: tls && {}, host: NAME, port, lookup: loopback }
  const connections = new Connections(endpoint, { clock: options.clock ?? clock, turn: new TurnEnd(), active })
  return {
    clock,
    connections,
    active,
    came,
    sockets,
    ask: (body = '') => ask(connections, body),
    async [Symbol.asyncDispose]() {
      connections.close()
      const closed = once(server, 'close')
      server.close()
      await closed
      expect([active.size, clock.pending]).toEqual([0, 0])
    },
  }
}

function ask(connections: Connections, body = ''): Asked {
  const bytes = Buffer.from(body)
  const head = requestLine('/rpc/a.B/m', NAME) + fieldLines({ 'x-a': 'b' }) + endOfHead(bytes.byteLength)
  const { promise: answer, resolve, reject } = Promise.withResolvers<Answer>()
  const onFailed = (error: Error, wasSent: boolean) => reject(Object.assign(error, { wasSent }))
  const exchange = { head, body: bytes, onAnswer: resolve, onFailed, connection: undefined }
  connections.ask(exchange)
  return { exchange, answer }
}

async function textOf({ answer }: Asked): Promise<string> {
  return Buffer.from((await answer).body).toString('latin1')
}

/** The event loop's: what is asked of a connection that rests is written then. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

it('asks the connection that rests, the last first, and opens another for what is asked meanwhile', async () => {
  await using to = await serving((socket, request, number) => {
    if (!request.includes('wait')) socket.write(ANSWER.replace('ok', `${number}!`))
  })
  const rested = async () => {
    const text = await textOf(to.ask())
    await turn()
    return text
  }
  expect([await rested(), await rested()]).toEqual(['0!', '0!'])
  const held = to.ask('wait')
  expect([await rested(), await rested()]).toEqual(['1!', '1!'])
  to.sockets[0]?.write(ANSWER)
  expect(await textOf(held)).toBe('ok')
  await turn()
  expect([await rested(), to.sockets.length]).toEqual(['0!', 2])
})

it('sends bodies whole, short and long', async () => {
  const bodies = ['', 'x', 'y'.repeat(16 * 1024), 'z'.repeat(16 * 1024 + 1), 'w'.repeat(3 << 20)]
  await using to = await serving((socket, request) => {
    const body = request.slice(request.indexOf('\r\n\r\n') + 4)
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  })
  for (const body of bodies) {
    expect(await textOf(to.ask(body)) === body).toBe(true)
    await turn()
  }
  expect(to.sockets.length).toBe(1)
})

it.each([
  ['says that it closes', 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok'],
  ['is of HTTP/1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok'],
  ['says more than was asked', `${ANSWER}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged`],
  [
    'stays for less than a call may take to get there',
    'HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok',
  ],
])('does not ask again where an answer %s', async (_, text) => {
  await using to = await serving((socket) => socket.write(text))
  for (let i = 0; i < 3; i++) {
    const asked = to.ask()
    expect(await textOf(asked)).toBe('ok')
    await gone(to.sockets[i])
  }
  expect(to.sockets.length).toBe(3)
})

it('does not ask again where a service answered before it had all of a request', async () => {
  await using to = await serving((socket) => {
    socket.pause()
    socket.write(ANSWER)
  }, { early: true })
  expect(await textOf(to.ask('x'.repeat(32 << 20)))).toBe('ok')
  expect(to.active.size).toBe(0)
  to.sockets[0]?.resume()
  await gone(to.sockets[0])
})

it('reads an answer that ends with its connection', async () => {
  await using to = await serving((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nall of it'))
  expect(await textOf(to.ask())).toBe('all of it')
})

it('leaves a connection that rests when the other side may be about to end it', async () => {
  await using to = await serving((socket, _, number) =>
    socket.write(number === 0 ? ANSWER : ANSWER.replace('OK', 'OK\r\nkeep-alive: timeout=20'))
  )
  await to.ask().answer
  await turn()
  const { upstreamIdleMs, upstreamIdleMarginMs } = DEFAULTS
  await to.clock.advance(upstreamIdleMs - 1)
  await to.ask().answer
  expect(to.sockets.length).toBe(1)
  // By itself, without being asked.
  await to.clock.advance(upstreamIdleMs + 1_000)
  await gone(to.sockets[0])
  expect([to.active.size, to.clock.pending]).toEqual([0, 0])
  await to.ask().answer
  await to.clock.advance(20_000 - upstreamIdleMarginMs - 1)
  await to.ask().answer
  expect(to.sockets.length).toBe(2)
  await to.clock.advance(20_000)
  await gone(to.sockets[1])
})

it('asks no connection of which it has not read what came on it meanwhile', async () => {
  await using to = await serving((socket) => socket.write(ANSWER), { clock: systemClock })
  const ends: ((socket: Socket | undefined) => unknown)[] = [
    (socket) => socket?.end(),
    (socket) => socket?.write(ANSWER.replace('ok', 'no')),
    (socket) => socket?.resetAndDestroy(),
  ]
  for (const [i, end] of ends.entries()) {
    expect(await textOf(to.ask())).toBe('ok')
    await turn()
    // This process is busy for a while: the system has it, and nobody has looked.
    end(to.sockets[i])
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_MS)
    expect(await textOf(to.ask())).toBe('ok')
    await gone(to.sockets[i])
    await turn()
  }
  expect(to.sockets.length).toBe(ends.length + 1)
})

it('gives nobody the answer to another, where a service answers twice', async () => {
  await using to = await serving((socket, request) => {
    const body = request.slice(request.indexOf('\r\n\r\n') + 4)
    socket.write(ANSWER.replace('ok', body))
    // When the first was read, and before there can be an answer to the next request.
    setImmediate(() => setImmediate(() => socket.write(ANSWER.replace('ok', 'no'))))
  })
  for (let i = 10; i < 40; i++) expect(await textOf(to.ask(String(i)))).toBe(String(i))
})

it('leaves a connection that rests when the other side ends it, or speaks unasked', async () => {
  await using to = await serving((socket) => socket.write(ANSWER))
  const ends: ((socket: Socket | undefined) => unknown)[] = [
    (socket) => socket?.end(),
    (socket) => socket?.destroy(),
    (socket) => socket?.write(ANSWER),
    (socket) => socket?.resetAndDestroy(),
  ]
  for (const [i, end] of ends.entries()) {
    expect(await textOf(to.ask())).toBe('ok')
    end(to.sockets[i])
    await expect.poll(() => to.active.size).toBe(0)
  }
  expect(to.sockets.length).toBe(ends.length)
})

it.each<[name: string, onRequest: OnRequest, reason: RegExp]>([
  ['ends the connection', (socket) => socket.end(), /closed the connection/],
  ['ends it within an answer', (socket) => socket.end(ANSWER.slice(0, -1)), /closed the connection/],
  ['cuts it', (socket) => socket.resetAndDestroy(), /ECONNRESET/],
  [
    'answers with something else',
    (socket) => socket.write('SSH-2.0-x\r\n\r\n'),
    /expected a head of HTTP\/1.1, got "SSH/,
  ],
])('fails what is asked where a service %s', async (_, onRequest, reason) => {
  await using to = await serving(onRequest)
  const { answer } = to.ask()
  await expect(answer).rejects.toMatchObject({ message: expect.stringMatching(reason), wasSent: true })
  await gone(to.sockets[0])
})

it('gives up to connect after a while, and knows that nothing was sent', async () => {
  const clock = new FakeClock()
  const active = new Set<Connections>()
  // A name that is never resolved, or an address that never answers: nothing happens.
  const connections = new Connections({ tls: undefined, host: NAME, port: 1, lookup: () => {} }, {
    clock,
    turn: new TurnEnd(),
    active,
  })
  const { answer } = ask(connections)
  const failed = expect(answer).rejects.toMatchObject({ message: /no connection within 10000 ms/, wasSent: false })
  await clock.advance(DEFAULTS.connectTimeoutMs)
  await failed
  expect([active.size, clock.pending]).toEqual([0, 0])
})

it('cuts the connection of what nobody waits for any more, in whatever state it is', async () => {
  let held = 0
  await using to = await serving((socket, request) => {
    if (request.includes('wait')) held++
    socket.write(request.includes('wait') ? ANSWER.slice(0, 10) : ANSWER)
  })
  let settled = 0
  const count = () => void settled++
  // Before it is open; that one never gets anywhere.
  const opening = to.ask()
  opening.answer.then(count, count)
  to.connections.drop(opening.exchange)
  expect(to.active.size).toBe(0)
  const half = to.ask('wait')
  half.answer.then(count, count)
  await expect.poll(() => held).toBe(1)
  to.connections.drop(half.exchange)
  await expect.poll(() => to.sockets.every((socket) => socket.destroyed)).toBe(true)
  expect(await textOf(to.ask())).toBe('ok')
  await turn()
  // One that waits for the end of the turn has cost nothing: the connection is asked by the next.
  const waiting = to.ask('wait')
  waiting.answer.then(count, count)
  to.connections.drop(waiting.exchange)
  await turn()
  const before = to.sockets.length
  expect(await textOf(to.ask())).toBe('ok')
  expect([settled, held, to.sockets.length, to.active.size]).toEqual([0, 1, before, 1])
})

it('goes over TLS to whom the certificate names, and to nobody else', async () => {
  const tls = selfSigned(NAME)
  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, tls.cert])
  try {
    await using to = await serving((socket, request) => {
      if (request.endsWith('end')) socket.end('HTTP/1.1 200 OK\r\n\r\nall of it')
      else socket.write(ANSWER)
    }, { tls })
    for (const body of ['', 'x'.repeat(40_000)]) {
      expect(await textOf(to.ask(body))).toBe('ok')
      await turn()
    }
    expect(await textOf(to.ask('end'))).toBe('all of it')
    expect(to.sockets.length).toBe(1)
    await gone(to.sockets[0])
    // The next connection begins where the last one left off.
    expect(await textOf(to.ask())).toBe('ok')
    expect(to.sockets.map((socket) => Boolean((socket as TLSSocket).isSessionReused()))).toEqual([false, true])
  } finally {
    setDefaultCACertificates(trusted)
  }
  {
    await using to = await serving(() => {}, { tls })
    await expect(to.ask().answer).rejects.toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT', wasSent: false })
  }
  const other = selfSigned('other.example')
  setDefaultCACertificates([...trusted, other.cert])
  try {
    await using to = await serving(() => {}, { tls: other })
    await expect(to.ask().answer).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID', wasSent: false })
  } finally {
    setDefaultCACertificates(trusted)
  }
})

it('writes no header that would change where a request ends, or what it is', () => {
  for (
    const name of ['Host', 'content-length', 'Transfer-Encoding', 'connection', 'expect', 'a b', 'a:b', '', 'a\r\nb']
  ) {
    expect(() => fieldLines({ [name]: '1' })).toThrow('must be one that HTTP carries, got')
  }
  for (const value of ['a\r\nx-b: c', 'a\nb', '\0', 'a\rb', '☃', '\x7f']) {
    expect(() => fieldLines({ 'x-a': value }, new Set(['x-a']))).toThrow('must be one that HTTP carries')
  }
  expect(fieldLines({ 'x-a': 'b c\t\xe9', 'x-content-length': '' })).toBe('x-a: b c\t\xe9\r\nx-content-length: \r\n')
})

/** Resolves when the server knows that a connection has ended. */
async function gone(socket: Socket | undefined): Promise<void> {
  if (socket && !socket.closed) await new Promise((resolve) => socket.once('close', resolve))
}
