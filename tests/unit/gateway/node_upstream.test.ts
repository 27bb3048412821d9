import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo, LookupFunction } from 'node:net'
import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { guardedLookup } from '../../../functions/gateway/guarded_lookup.ts'
import { nodeUpstream } from '../../../functions/gateway/node_upstream.ts'
import { openSocket } from '../../../functions/worker/node_socket.ts'
import { encodeUtf8 } from '../../../shared/base/bytes.ts'
import type { Send } from '../../../shared/rpc/send.ts'
import { fetchTransport } from '../../../shared/rpc/transports/fetch.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Payload } from '../../../shared/wire/payload.ts'
import { countedSignal, rejected, requestOf } from '../rpc/harness.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const HELLO: Payload = { codec: 'json', body: encodeUtf8('{"name":"sea"}') }

/** A server on a free port, with a way to it as the gateway on Node has it. Disposing of it proves that none is left. */
async function serving(listener: RequestListener) {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const upstream = nodeUpstream()
  return {
    url,
    server,
    send: upstream.connect(url),
    upstream,
    async [Symbol.asyncDispose]() {
      await upstream.close()
      const closed = once(server, 'close')
      server.close()
      await closed
    },
  }
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  return Buffer.concat(await incoming.toArray()).toString()
}

it('says the same on the wire as fetch, and reads the same from it', async () => {
  const seen: unknown[] = []
  await using to = await serving(async (incoming, outgoing) => {
    const { method, url, headers } = incoming
    const names = Object.keys(headers).filter((name) => /^(x-|shoal-|connect-|content-type|traceparent)/.test(name))
      .sort()
    seen.push([method, url, names.map((name) => [name, headers[name]]), await textOf(incoming)])
    outgoing.writeHead(200, { ...JSON_TYPE, 'x-answer': 'yes', 'shoal-attempts': '1', date: 'now' }).end('{"a":1}')
  })
  const changes = [
    { payload: HELLO, metadata: { 'x-name': 'a value' }, idempotent: true, version: '^1.0.0', group: 'blue' },
    { payload: { codec: 'msgpack', body: Uint8Array.of(0x81, 0xa1, 0x61, 0x01) } as const, timeoutMs: 1234.5 },
    { service: 'demo/Hello?', method: 'say#' },
  ]
  for (const change of changes) {
    const request = requestOf({ a: 1 }, change)
    const [ours, theirs] = [await to.send(request), await fetchTransport(to.url).send(request)]
    expect(seen.splice(0, 1)).toEqual(seen.splice(0, 1))
    if (ours.kind !== 'unary' || theirs.kind !== 'unary') throw new Error('expected one value')
    expect(ours.metadata).toEqual(theirs.metadata)
    expect(bodyOf(ours.payload)).toEqual(bodyOf(theirs.payload))
  }
})

function bodyOf(payload: Payload): unknown {
  return 'body' in payload ? [payload.codec, Buffer.from(payload.body).toString('hex')] : payload.codec
}

it('reads what is out of the ordinary as fetch does', async () => {
  const answers: RequestListener[] = [
    (_, to) => to.writeHead(503, { ...JSON_TYPE, 'retry-after': '2' }).end('{"code":"unavailable","message":"full"}'),
    (_, to) => to.writeHead(400, JSON_TYPE).end('{"code":"invalid_argument","message":"no"}'),
    (_, to) => to.writeHead(503, { ...JSON_TYPE, 'shoal-never-sent': '1' }).end('{"code":"unavailable"}'),
    (_, to) => to.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>'),
    (_, to) => to.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>'),
    (_, to) => to.writeHead(200).end(),
    (_, to) => to.writeHead(204).end(),
    // The web's Response takes no body with it.
    (_, to) => to.writeHead(205, { ...JSON_TYPE, 'content-length': 2 }).end('{}'),
    (_, to) => to.writeHead(205, JSON_TYPE).end(),
    (_, to) => to.writeHead(599, 'Odd').end('?'),
    (_, to) => to.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
    (_, to) => to.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end('{"b":2}'),
    (_, to) => void to.writeHead(200, JSON_TYPE).write('{"in":', () => to.end('"parts"}')),
  ]
  let answer: RequestListener = () => {}
  await using to = await serving((incoming, outgoing) => answer(incoming, outgoing))
  for (answer of answers) {
    const outcomes = [to.send, fetchTransport(to.url).send].map((send) => outcomeOf(send, to.url))
    expect(await outcomes[0]).toEqual(await outcomes[1])
  }
})

async function outcomeOf(send: Send, url: string): Promise<unknown> {
  try {
    const response = await send(requestOf(1, { payload: HELLO }))
    return response.kind === 'unary' ? [response.metadata, bodyOf(response.payload)] : response.kind
  } catch (thrown) {
    const { code, message, retryAfterMs, neverSent } = RpcError.from(thrown)
    return { code, message: message.replace(url, 'URL'), retryAfterMs, neverSent }
  }
}

it('refuses an answer that is compressed, since nobody asked for that', async () => {
  await using to = await serving((_, outgoing) => {
    outgoing.writeHead(200, { ...JSON_TYPE, 'content-encoding': 'gzip' }).end(gzipSync('{}'))
  })
  await rejected(to.send(requestOf(1)), 'unknown', /content-encoding must be identity, got gzip/)
})

it('keeps connections for later calls, and shares none between two at once', async () => {
  const sockets: unknown[] = []
  const held: (() => void)[] = []
  let holding = 0
  await using to = await serving((incoming, outgoing) => {
    sockets.push(incoming.socket)
    held.push(() => outgoing.writeHead(200, JSON_TYPE).end('{}'))
    if (held.length >= holding) { for (const answer of held.splice(0)) answer() }
  })
  for (let i = 0; i < 20; i++) await to.send(requestOf(i))
  // The next call may begin before the connection of the last one is free again.
  expect(new Set(sockets).size).toBeLessThanOrEqual(2)
  holding = 3
  await Promise.all([1, 2, 3].map((i) => to.send(requestOf(i))))
  expect(new Set(sockets.slice(-3)).size).toBe(3)
})

it('knows what was surely never sent, and what may have been', async () => {
  await using to = await serving((incoming) => incoming.socket.destroy())
  const broken = await rejected(to.send(requestOf(1)), 'unavailable', /^Cannot reach http:\/\/127\.0\.0\.1:\d+: /)
  expect([broken.neverSent, broken.unanswered]).toEqual([false, true])
  const gone = await serving(() => {})
  await gone[Symbol.asyncDispose]()
  const refused = await rejected(to.upstream.connect(gone.url)(requestOf(1)), 'unavailable', /ECONNREFUSED/)
  expect([refused.neverSent, refused.unanswered]).toEqual([true, true])
})

it('cuts the connection of a call that is given up', async () => {
  const { promise: cut, resolve } = Promise.withResolvers<void>()
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>()
  await using to = await serving((incoming) => {
    incoming.socket.once('close', resolve)
    arrive()
  })
  const { signal, listeners, abort } = countedSignal()
  const call = to.send(requestOf(1, { signal }))
  await arrived
  abort(new RpcError('deadline_exceeded', 'Cannot finish the call: its deadline passed'))
  await rejected(call, 'deadline_exceeded')
  await cut
  expect(listeners()).toBe(0)
})

it('sends nothing for a call that was given up before it could begin', async () => {
  let requests = 0
  await using to = await serving((_, outgoing) => {
    requests++
    outgoing.writeHead(200, JSON_TYPE).end('{}')
  })
  await rejected(to.send(requestOf(1, { signal: AbortSignal.abort() })), 'canceled')
  const late = countedSignal()
  const waiting = to.send(requestOf(1, { signal: late.signal }))
  late.abort()
  await rejected(waiting, 'canceled')
  const { signal, listeners } = countedSignal()
  await to.send(requestOf(1, { signal }))
  expect([requests, listeners(), late.listeners()]).toEqual([1, 0, 0])
})

it('bounds what an answer may hold', async () => {
  const chunk = Buffer.alloc(1 << 20, ' ')
  const { promise: cut, resolve } = Promise.withResolvers<void>()
  await using to = await serving((incoming, outgoing) => {
    incoming.socket.once('close', resolve)
    outgoing.writeHead(200, JSON_TYPE)
    const pour = () => {
      while (!outgoing.destroyed && outgoing.write(chunk));
    }
    outgoing.on('drain', pour)
    pour()
  })
  await rejected(to.send(requestOf(1)), 'internal', /it may have at most \d+ bytes/)
  await cut
})

it('goes to http(s) addresses alone, below their path', async () => {
  const paths: unknown[] = []
  await using to = await serving((incoming, outgoing) => {
    paths.push(incoming.url)
    outgoing.writeHead(200, JSON_TYPE).end('{}')
  })
  for (const base of [to.url, `${to.url}/`, `${to.url}/under//`]) {
    await to.upstream.connect(base)(requestOf(1, { service: 's', method: 'm' }))
  }
  expect(paths).toEqual(['/rpc/s/m', '/rpc/s/m', '/under/rpc/s/m'])
  for (const base of ['', '/rpc', 'ftp://127.0.0.1/', 'file:///etc/passwd']) {
    expect(() => to.upstream.connect(base)).toThrow('expected an absolute URL')
  }
  await rejected(to.send(requestOf(1, { stream: true })), 'unknown', /content-type must be application\/connect/)
  for (const value of ['a\r\nx-b: c', '\u0000']) {
    await rejected(
      to.send(requestOf(1, { metadata: { 'x-a': value } })),
      'invalid_argument',
      /the header "x-a" must be one that HTTP carries, got U\+000(D at 1|0 at 0)/,
    )
  }
  expect(paths.length).toBe(4)
})

it('fails what is in flight when it is closed', async () => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>()
  await using to = await serving(() => arrive())
  const call = rejected(to.send(requestOf(1)), 'unavailable')
  await arrived
  await to.upstream.close()
  await call
})

it('connects to no forbidden address that a name resolves to, whatever it resolved to before', async () => {
  await using to = await serving((_, outgoing) =>
    outgoing.writeHead(200, { ...JSON_TYPE, connection: 'close' }).end('1')
  )
  const answers = ['127.0.0.1', '169.254.169.254', '::ffff:a9fe:a9fe', '127.0.0.1', '169.254.169.254']
  const asked: string[] = []
  const resolve: LookupFunction = (name, options, callback) => {
    asked.push(name)
    const address = answers[asked.length - 1] ?? ''
    const family = address.includes(':') ? 6 : 4
    if (options.all) callback(null, [{ address, family }])
    else callback(null, address, family)
  }
  const upstream = nodeUpstream({ resolve })
  const send = upstream.connect(to.url.replace('127.0.0.1', 'rebinding.example'))
  expect((await send(requestOf({}, { payload: HELLO }))).kind).toBe('unary')
  for (let i = 0; i < 2; i++) {
    const error = await rejected(
      send(requestOf({}, { payload: HELLO })),
      'unavailable',
      /rebinding.example must not resolve to a link-local or metadata address/,
    )
    expect(error.neverSent).toBe(true)
  }
  expect((await send(requestOf({}, { payload: HELLO }))).kind).toBe('unary')
  // Nor do sockets to the same place.
  const socket = openSocket(to.url.replace(/^http:..127.0.0.1/, 'ws://rebinding.example'), {}, guardedLookup(resolve))
  expect(await new Promise((resolve) => socket.addEventListener('close', ({ code }) => resolve(code)))).toBe(1006)
  expect(asked).toEqual(Array(5).fill('rebinding.example'))
  await upstream.close()
})
