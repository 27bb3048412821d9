import { assert } from 'chai'
import * as z from 'zod'
import { clientOver } from '../../../shared/rpc/client.ts'
import { defineService, serverStreaming, unary } from '../../../shared/rpc/contract.ts'
import type { RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { memoryTransport } from '../../../shared/rpc/transports/memory.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { rejected, requestOf, Sums, unaryOf } from './harness.ts'
import { catching, catchingTransport, open, sums } from './client_bench.ts'

/** Inputs and outputs, held to the contract on both sides. */
export const contractCases: Suite['cases'] = {
  'a method is a local function': async () => {
    const { server } = sums()
    using opened = open(server)
    assert.deepEqual(await opened.client.add({ a: 1, b: 2 }), { sum: 3 })
    // The schema's default is filled in.
    assert.deepEqual(await opened.client.add({ a: 1 }), { sum: 1 })
    const { y } = await opened.client.scale({ x: Tensor.from('float32', [2], [1, 2]), by: 3 })
    assert.deepEqual([y.shape, [...(y as Tensor<'float32'>).data]], [[2], [3, 6]])
    const items = []
    for await (const { n } of opened.client.count({ to: 3 })) items.push(n)
    assert.deepEqual(items, [0, 1, 2])
  },

  'every codec gives the same answer': async () => {
    const { server } = sums()
    for (const codec of ['json', 'msgpack', 'tensors', 'value'] as const) {
      const client = clientOver(Sums, { transport: { send: server, codec, close() {} } })
      const { y } = await client.scale({ x: Tensor.from('float32', [1], [2]), by: 2 })
      assert.deepEqual([...(y as Tensor<'float32'>).data], [4], codec)
    }
  },

  'input that the contract refuses is not sent, and its place is named': async () => {
    const { client, requests } = catching()
    const wrong: [unknown, RegExp][] = [
      [{ a: 'x' }, /^Cannot accept the input of test.Sums\/add: at "a": /],
      [{}, /at "a"/],
      [null, /^Cannot accept the input of test.Sums\/add: /],
      [{ a: 1, b: [] }, /at "b"/],
    ]
    for (const [input, message] of wrong) {
      const error = await rejected(client.add(input as { a: number }), 'invalid_argument', message)
      assert.isAtLeast(error.details.length, 1)
    }
    await rejected(
      client.scale({ x: [1, 2] as unknown as Tensor, by: 1 }),
      'invalid_argument',
      /at "x": .*expected a tensor/,
    )
    assert.isEmpty(requests)
  },

  'input that cannot travel is not sent, and its place is named': async () => {
    const Loose = defineService({
      name: 'test.Loose',
      version: '1.0.0',
      methods: { any: unary({ input: z.unknown(), output: z.unknown() }) },
    })
    const requests: RpcRequest[] = []
    const send: Send = (request) => Promise.resolve(void requests.push(request) as never)
    const client = clientOver(Loose, { transport: { send, codec: 'tensors', close() {} } })
    await rejected(client.any({ when: [new Date()] }), 'invalid_argument', /an instance of Date at "when.0"/)
    await rejected(client.any({ a: { b: 1n } }), 'invalid_argument', /a bigint at "a.b"/)
    assert.isEmpty(requests)
  },

  'output that the contract refuses is the server’s fault, and named by it': async () => {
    const { server } = sums({ add: () => ({ sum: 'three' }) })
    using opened = open(server)
    await rejected(opened.client.add({ a: 1 }), 'internal', /^Cannot accept the output of test.Sums\/add: at "sum": /)
  },

  'output that cannot be read or passes only the server is the server’s fault too': async () => {
    const answers: RpcResponse[] = [
      unaryOf({ sum: 'three' }),
      { kind: 'unary', metadata: {}, payload: { codec: 'msgpack', body: Uint8Array.of(0xc1) } },
      { kind: 'unary', metadata: {}, payload: { codec: 'json', body: new TextEncoder().encode('<html>') } },
      { kind: 'unary', metadata: {}, payload: { codec: 'tensors', structure: { $tensor: 'x' }, parts: [] } },
    ]
    for (const answer of answers) {
      const client = clientOver(Sums, {
        transport: { send: () => Promise.resolve(answer), codec: 'json', close() {} },
      })
      await rejected(client.add({ a: 1 }), 'internal', /the output of test.Sums\/add/)
    }
  },

  'output that cannot travel is the server’s fault': async () => {
    const Loose = defineService({
      name: 'test.Loose',
      version: '1.0.0',
      methods: { any: unary({ input: z.unknown(), output: z.unknown() }) },
    })
    for (const codec of ['json', 'msgpack', 'tensors'] as const) {
      const server = createServer([implement(Loose, { any: () => ({ when: new Map() }) })])
      const request = requestOf(1, { service: 'test.Loose', method: 'any', payload: encodePayload(1, codec) })
      await rejected(
        server(request),
        'internal',
        /Cannot send the output of test.Loose\/any: .*an instance of Map at "when"/,
      )
    }
  },

  'many problems are listed up to a bound': async () => {
    const Many = defineService({
      name: 'test.Many',
      version: '1.0.0',
      methods: { sum: unary({ input: z.array(z.number()), output: z.null() }) },
    })
    const client = clientOver(Many, { transport: catchingTransport() })
    const error = await rejected(client.sum(new Array(1000).fill('x')), 'invalid_argument', /at "0"/)
    assert.equal(error.details.length, 16)
    assert.deepEqual((error.details[3] as { path: unknown }).path, ['3'])
  },

  'contracts with names that could not travel are refused': () => {
    const methods = { add: Sums.methods.add }
    for (const name of ['', '1a', 'a b', 'a..b', 'a/b', 'é', '.a', 'x'.repeat(201)]) {
      assertRefused(
        () => defineService({ name, version: '1.0.0', methods }),
        /^Cannot define the service: service name/,
      )
    }
    for (const version of ['', '1', '1.0', 'v1.0.0', '^1.0.0', '1.0.0 ']) {
      assertRefused(() => defineService({ name: 'a.B', version, methods }), /version must be semver/)
    }
    for (const name of ['', '1a', 'a-b', 'a.b', 'é', 'then', '_a', 'x'.repeat(201)]) {
      assertRefused(
        () => defineService({ name: 'a.B', version: '1.0.0', methods: { [name]: Sums.methods.add } }),
        /method name/,
      )
    }
    const contract = defineService({
      name: 'a.b.C_1',
      version: '1.0.0-beta.1',
      methods: { constructor: Sums.methods.add },
    })
    assert.isFrozen(contract)
    assert.equal(unary({ input: z.null(), output: z.null() }).idempotent, false)
    assert.equal(serverStreaming({ input: z.null(), output: z.null(), idempotent: true }).idempotent, true)
  },

  'a schema of any validator will do, also one that takes its time': async () => {
    const number = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value: unknown) =>
          Promise.resolve(
            typeof value === 'number'
              ? { value: value * 2 }
              : { issues: [{ message: 'no number', path: [{ key: 'a' }, 0, Symbol('s')] }] },
          ),
      },
    } as const
    const Doubles = defineService({
      name: 'test.Doubles',
      version: '1.0.0',
      methods: { twice: unary({ input: number, output: number }) },
    })
    const server = createServer([implement(Doubles, { twice: (value) => value })])
    const client = clientOver(Doubles, { transport: memoryTransport(server) })
    // Each side applies its schemas: 1 · 2 · 2 on the way there, · 2 · 2 on the way back.
    assert.equal(await client.twice(1 as never), 16)
    const error = await rejected(client.twice('x' as never), 'invalid_argument', /at "a.0.Symbol\(s\)": no number$/)
    assert.deepEqual(error.details, [{ message: 'no number', path: ['a', '0', 'Symbol(s)'] }])
  },
}
