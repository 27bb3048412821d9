import { createServer, request as httpRequest, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { readHttpRequest } from '../../../shared/rpc/http.ts'
import type { RpcRequest } from '../../../shared/rpc/send.ts'
import { callOf } from '../../../functions/gateway/node_plain_call.ts'
import { NodeRequest } from '../../../functions/gateway/node_request.ts'
import { nodeRpc } from '../../../functions/gateway/node_rpc.ts'

const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const LONG = 'x'.repeat(LIMITS.maxNameLength + 1)

/** Headers of a call, and whether it is a plain one. The body is declared and `{"a":1}` unless they say otherwise. */
const CALLS: readonly [headers: Record<string, string>, isPlain: boolean][] = [
  [{}, true],
  [{ 'content-type': 'application/msgpack' }, true],
  [{ traceparent: TRACE }, true],
  [{ traceparent: 'nonsense' }, true],
  [{ 'shoal-version': '^1.0.0', 'shoal-group': 'blue', 'shoal-idempotent': '1' }, true],
  [{ 'connect-protocol-version': '1', 'connect-timeout-ms': '1500' }, true],
  [{ 'connect-timeout-ms': '9999999999' }, true],
  [
    { 'x-tenant': 'sea', 'x-forwarded-for': '10.0.0.1', authorization: 'Bearer secret', 'shoal-caller': 'forged' },
    true,
  ],
  [{ 'shoal-hash-key': 'user-7', 'shoal-balancer': 'round_robin' }, true],
  [{ accept: '*/*' }, true],
  [{ 'content-type': 'application/json; charset=utf-8' }, false],
  [{ 'content-type': 'APPLICATION/JSON' }, false],
  [{ 'content-type': 'application/connect+json' }, false],
  [{ 'content-type': 'text/plain' }, false],
  [{ accept: 'text/event-stream' }, false],
  [{ 'content-encoding': 'gzip' }, false],
  [{ 'content-encoding': 'identity' }, false],
  [{ 'transfer-encoding': 'chunked' }, false],
  [{ 'connect-timeout-ms': '0' }, false],
  [{ 'connect-timeout-ms': '007' }, false],
  [{ 'connect-timeout-ms': 'soon' }, false],
  [{ 'connect-protocol-version': '2' }, false],
  [{ 'shoal-version': 'newest' }, false],
  [{ 'shoal-version': LONG }, false],
  [{ 'shoal-group': LONG }, false],
]

it.each(CALLS)('a call with %j is read as by the long way, if it is read at all', async (headers, isPlain) => {
  const done = Promise.withResolvers<void>()
  const port = await listening((incoming, outgoing) => {
    const request = new NodeRequest(incoming, outgoing)
    const plain = callOf(request, 'a.B', 'm', undefined)
    const compared = async () => {
      expect(plain !== undefined).toBe(isPlain)
      const read = await readHttpRequest(request, 'a.B', 'm').catch((thrown) => thrown as Error)
      if (!plain) return
      const { signal: _, traceparent, payload: { codec }, ...call } = plain
      const { traceparent: expected, payload, ...rest } = read as RpcRequest
      expect(call).toEqual(rest)
      expect(codec).toBe(payload.codec)
      expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
      if (headers.traceparent === TRACE) expect([traceparent, expected]).toEqual([TRACE, TRACE])
    }
    compared().then(done.resolve, done.reject).finally(() => outgoing.end())
  })
  await Promise.all([done.promise, post(port, headers)])
})

it('a body that breaks off is never called with, and counts as given up', async () => {
  const heard = Promise.withResolvers<string>()
  let calls = 0
  const serve = nodeRpc({ mode: 'open' }, {
    clock: systemClock,
    choose: () => () => Promise.reject(new Error(`call ${++calls}`)),
    onAnswer: (_service, _method, _startedAtMs, code) => heard.resolve(code),
  })
  const port = await listening((incoming, outgoing) => void serve(incoming, outgoing))
  const socket = connect(port, '127.0.0.1')
  const head = `host: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 100`
  socket.write(`POST /rpc/a.B/m HTTP/1.1\r\n${head}\r\n\r\n{"a":`, () => setImmediate(() => socket.destroy()))
  expect(await heard.promise).toBe('canceled')
  expect(calls).toBe(0)
})

it('paths that callers make up are served all the same, more of them than are remembered', async () => {
  const serve = nodeRpc({ mode: 'open' }, {
    clock: systemClock,
    choose: () => ({ method }) =>
      Promise.resolve({ kind: 'unary', metadata: { 'x-method': method }, payload: { codec: 'json', body: BODY } }),
  })
  const port = await listening((incoming, outgoing) => void serve(incoming, outgoing))
  for (let i = 0; i <= LIMITS.maxRoutedMethods; i++) {
    const response = await fetch(`http://127.0.0.1:${port}/rpc/a.B/m${i}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: BODY,
    })
    expect([await response.json(), response.headers.get('x-method')]).toEqual([{ a: 1 }, `m${i}`])
  }
})

const BODY = new TextEncoder().encode('{"a":1}')

async function listening(listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

function post(port: number, headers: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    const length = 'transfer-encoding' in headers ? undefined : { 'content-length': BODY.byteLength }
    const outgoing = httpRequest({
      host: '127.0.0.1',
      port,
      method: 'POST',
      path: '/rpc/a.B/m',
      headers: { 'content-type': 'application/json', ...length, ...headers },
    }, (incoming) => incoming.resume().on('end', resolve))
    outgoing.on('error', reject).end(BODY)
  })
}
