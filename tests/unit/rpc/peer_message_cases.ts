import { assert } from 'chai'
import { toHex } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Peer } from '../../../shared/rpc/peer.ts'
import type { RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { decodePayload, encodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { compact, FRAMES } from '../wire/golden.ts'
import { echo, pairOf, rejected, requestOf, settled, unaryOf, valueOf } from './harness.ts'

function nested(levels: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = [value]
  return value
}

/** What travels between two peers, and in what form. */
export const messageCases: Suite['cases'] = {
  'a request arrives as it was sent': async () => {
    let got: RpcRequest | undefined
    await using pair = pairOf((request) => {
      got = request
      return echo(request)
    })
    const change = { version: '^1.0.0', group: 'blue', idempotent: true, timeoutMs: 700, metadata: { 'x-a': 'b' } }
    const sent = requestOf({ x: 1 }, change)
    assert.deepEqual(await valueOf(pair.client.send(sent)), { x: 1 })
    const { signal: _, payload, ...fields } = got ?? sent
    const { signal: __, payload: ___, ...expected } = sent
    assert.deepEqual(fields, expected)
    assert.deepEqual(decodePayload(payload), { x: 1 })
  },

  'what is written is what the golden vectors say': () => {
    for (const name of ['request', 'request with everything']) {
      const vector = FRAMES.find((frame) => frame.name === name)
      if (!vector) throw new Error('expected a vector')
      const sent: string[] = []
      const client = new Peer({ write: (message) => sent.push(toHex(message)) })
      const { message: structure, ...fields } = vector.frame.header
      const payload = { codec: 'tensors' as const, structure, parts: vector.frame.parts }
      const change = { ...fields, payload } as Partial<RpcRequest>
      void client.send(requestOf(0, change)).catch(() => {})
      // All but the number, which is a peer's own.
      const expected = compact(vector.hex[0] ?? '')
      assert.equal(sent[0]?.replace(/^(.{8}).{8}/, '$1'), expected.replace(/^(.{8}).{8}/, '$1'), name)
      client.close(new RpcError('canceled', 'done'))
    }
  },

  'every codec passes, opaque bytes untouched': async () => {
    const seen: unknown[] = []
    await using pair = pairOf(async (request) => {
      seen.push(request.payload.codec)
      return { kind: 'unary', metadata: {}, payload: request.payload }
    })
    const x = Tensor.from('float32', [2], [1, 2])
    for (const codec of ['json', 'msgpack', 'tensors', 'value'] as const) {
      const answer = await valueOf(pair.client.send(requestOf(0, { payload: encodePayload({ x }, codec) }))) as {
        x: Tensor
      }
      assert.deepEqual([...answer.x.bytes], [...x.bytes])
    }
    // What never leaves a process is written as tensors when it does.
    assert.deepEqual(seen, ['json', 'msgpack', 'tensors', 'tensors'])
  },

  'a thousand calls answered in random order each get their own answer': async () => {
    const random = seededRandom(5)
    const waiting: (() => void)[] = []
    await using pair = pairOf((request) => new Promise((resolve) => waiting.push(() => resolve(echo(request)))))
    const calls = Array.from({ length: 1000 }, (_, n) => valueOf(pair.client.send(requestOf({ n }))))
    assert.equal(pair.client.inFlight, 1000)
    await settled()
    assert.equal(pair.server.serving, 1000)
    while (waiting.length > 0) waiting.splice(Math.floor(random() * waiting.length), 1)[0]?.()
    assert.deepEqual(await Promise.all(calls), calls.map((_, n) => ({ n })))
    assert.equal(pair.late, 0)
  },

  'both sides call each other at once, under the same numbers': async () => {
    const clientServes: Send = (request) => Promise.resolve(unaryOf({ client: decodePayload(request.payload) }))
    await using pair = pairOf(
      async (request) => {
        // Before it answers, the server asks back.
        const value = decodePayload(request.payload)
        return unaryOf({ server: value, back: await valueOf(pair.server.send(requestOf(value))) })
      },
      { serve: clientServes },
    )
    const calls = Array.from({ length: 50 }, (_, n) => valueOf(pair.client.send(requestOf(n))))
    const others = Array.from({ length: 50 }, (_, n) => valueOf(pair.server.send(requestOf(n + 100))))
    assert.deepEqual(await Promise.all(calls), calls.map((_, n) => ({ server: n, back: { client: n } })))
    assert.deepEqual(await Promise.all(others), others.map((_, n) => ({ client: n + 100 })))
  },

  'large tensors travel in fragments, many at once': async () => {
    await using pair = pairOf(echo)
    const sizes = [10, 3 * 2 ** 20, 700_000, 2 ** 20]
    const calls = sizes.map((size, n) => {
      const x = new Tensor('uint8', [size], new Uint8Array(size).fill(n + 1))
      return valueOf(pair.client.send(requestOf({ x }))) as Promise<{ x: Tensor<'uint8'> }>
    })
    for (const [n, { x }] of (await Promise.all(calls)).entries()) {
      assert.equal(x.bytes.byteLength, sizes[n])
      assert.isTrue(x.bytes.every((byte) => byte === n + 1))
    }
  },

  'a structure too long for a header travels in the body, both ways': async () => {
    await using pair = pairOf(echo)
    const rows = Array.from({ length: 5000 }, (_, id) => ({ id, name: `row number ${id}` }))
    const x = Tensor.from('int8', [1], [7])
    const answer = await valueOf(pair.client.send(requestOf({ rows, x }))) as { rows: unknown; x: Tensor<'int8'> }
    assert.deepEqual(answer.rows, rows)
    assert.deepEqual([...answer.x.data], [7])
    assert.deepEqual(pair.requests.map((frame) => frame.header.codec), ['msgpack'])
  },

  'what is too large fails alone and was never sent': async () => {
    await using pair = pairOf(echo)
    const other = valueOf(pair.client.send(requestOf('other')))
    const x = new Tensor('uint8', [LIMITS.maxMessageBytes + 1], new Uint8Array(LIMITS.maxMessageBytes + 1))
    const large = await rejected(pair.client.send(requestOf({ x })), 'resource_exhausted', /a body may have at most/)
    assert.isTrue(large.neverSent)
    const metadata = { 'x-long': 'x'.repeat(LIMITS.maxHeaderBytes) }
    const headed = await rejected(pair.client.send(requestOf(1, { metadata })), 'resource_exhausted', /a header may/)
    assert.isTrue(headed.neverSent)
    assert.equal(await other, 'other')
    assert.equal(pair.requests.length, 1)
  },

  'an answer that cannot be sent fails alone': async () => {
    const answers: Record<string, RpcResponse> = {
      large: unaryOf(new Tensor('uint8', [LIMITS.maxMessageBytes + 1], new Uint8Array(LIMITS.maxMessageBytes + 1))),
      odd: { kind: 'unary', metadata: {}, payload: { codec: 'tensors', structure: { a: 1n }, parts: [] } },
      deep: { kind: 'unary', metadata: {}, payload: { codec: 'tensors', structure: nested(40), parts: [] } },
      fine: unaryOf('fine'),
    }
    await using pair = pairOf(async (request) => {
      const name = decodePayload(request.payload) as string
      await settled()
      return answers[name] ?? unaryOf(null)
    })
    const call = (name: string) => pair.client.send(requestOf(name))
    const [fine] = [valueOf(call('fine'))]
    await Promise.all([
      rejected(call('large'), 'resource_exhausted', /a body may have at most/),
      rejected(call('odd'), 'internal', /Cannot encode/),
      rejected(call('deep'), 'internal', /Cannot encode/),
    ])
    assert.equal(await fine, 'fine')
    assert.equal(await valueOf(call('fine')), 'fine')
  },
}
