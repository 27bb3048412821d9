import { describe, expectTypeOf, it } from 'vitest'
import * as z from 'zod'
import { type CallOptions, type Client, clientOver } from '../../../shared/rpc/client.ts'
import { defineService, serverStreaming, unary } from '../../../shared/rpc/contract.ts'
import { createClient } from '../../../shared/create_client.ts'
import { serve, type ServedFunction } from '../../../shared/registry/serve.ts'
import { type Context, type Handlers, implement } from '../../../shared/rpc/server.ts'
import { memoryTransport } from '../../../shared/rpc/transports/memory.ts'
import { tensors } from '../../../shared/contracts/fields.ts'
import type { Tensor } from '../../../shared/wire/tensor.ts'

/** Checked by tsc: each line that expects an error fails the type check if there is none. */
const Shop = defineService({
  name: 'test.Shop',
  version: '1.0.0',
  methods: {
    price: unary({
      input: z.object({ item: z.string(), count: z.number().default(1) }),
      // What the server gives and what the client gets differ: a text there is a number here.
      output: z.object({ cents: z.string().transform(Number) }),
      idempotent: true,
    }),
    watch: serverStreaming({ input: z.object({ item: z.string() }), output: z.object({ left: z.number() }) }),
    infer: unary({ input: z.object({ inputs: tensors }), output: z.object({ outputs: tensors }) }),
  },
})

const transport = memoryTransport(() => Promise.reject(new Error('types only')))
const client = clientOver(Shop, { transport })

describe('types of a client', () => {
  it('has exactly the methods of its contract', () => {
    expectTypeOf<keyof typeof client>().toEqualTypeOf<'price' | 'watch' | 'infer'>()
    expectTypeOf(client).toEqualTypeOf<Client<typeof Shop>>()
    expectTypeOf(createClient(Shop, { gateway: 'http://localhost:8787' })).toEqualTypeOf<Client<typeof Shop>>()
    expectTypeOf(createClient(Shop, { transport })).toEqualTypeOf<Client<typeof Shop>>()
    expectTypeOf(createClient(Shop, { registry: 'http://localhost:8787' })).toEqualTypeOf<Client<typeof Shop>>()
  })

  it('takes what the schema takes and gives what the schema gives', () => {
    expectTypeOf(client.price).parameters.toEqualTypeOf<
      [input: { item: string; count?: number | undefined }, options?: CallOptions]
    >()
    expectTypeOf(client.price).returns.toEqualTypeOf<Promise<{ cents: number }>>()
    expectTypeOf(client.watch).parameters.toEqualTypeOf<[input: { item: string }, options?: CallOptions]>()
    expectTypeOf(client.watch).returns.toEqualTypeOf<AsyncIterable<{ left: number }>>()
    expectTypeOf(client.infer).returns.toEqualTypeOf<Promise<{ outputs: Record<string, Tensor> }>>()
  })

  it('refuses what the contract has not', () => {
    const misuse = () => {
      // @ts-expect-error no such method
      void client.buy
      // @ts-expect-error a member is missing
      void client.price({})
      // @ts-expect-error a member has the wrong type
      void client.price({ item: 1 })
      // @ts-expect-error a member too many
      void client.price({ item: 'a', color: 'red' })
      // @ts-expect-error input is required
      void client.price()
      // @ts-expect-error a unary method is not iterated
      void client.price({ item: 'a' })[Symbol.asyncIterator]
      // @ts-expect-error a stream is not awaited for one value
      void client.watch({ item: 'a' }).then
      // @ts-expect-error methods are not replaced
      client.price = client.infer
      // @ts-expect-error neither a gateway, nor a registry, nor a transport
      createClient(Shop, {})
      // @ts-expect-error tensors by name, not one
      void client.infer({ inputs: [1, 2] })
    }
    expectTypeOf(misuse).toBeFunction()
  })
})

describe('types of a server', () => {
  it('gets what the schema gives and must answer what the schema takes', () => {
    const shop = implement(Shop, {
      price(input, context) {
        expectTypeOf(input).toEqualTypeOf<{ item: string; count: number }>()
        expectTypeOf(context).toEqualTypeOf<Context>()
        return { cents: '100' }
      },
      async *watch({ item }) {
        expectTypeOf(item).toBeString()
        yield { left: 3 }
      },
      infer: ({ inputs }) => Promise.resolve({ outputs: inputs }),
    })
    expectTypeOf(shop.contract.name).toBeString()
    const handlers = { ...shop.handlers } as unknown as Handlers<typeof Shop>
    const served = () => serve(Shop, handlers, { limits: { price: { maxConcurrent: 4, maxQueued: 8 } } })
    expectTypeOf(served).returns.toEqualTypeOf<ServedFunction>()
    // @ts-expect-error a limit of a method that is not there
    void (() => serve(Shop, handlers, { limits: { buy: { maxConcurrent: 4 } } }))
    // @ts-expect-error a limit without a number of places
    void (() => serve(Shop, handlers, { limits: { price: {} } }))
    const misuse = () => {
      // @ts-expect-error a method is missing
      implement(Shop, { price: () => ({ cents: '1' }), infer: () => ({ outputs: {} }) })
      implement(Shop, {
        // @ts-expect-error the server's side of the schema is a text
        price: () => ({ cents: 1 }),
        async *watch() {},
        infer: () => ({ outputs: {} }),
      })
      implement(Shop, {
        price: () => ({ cents: '1' }),
        // @ts-expect-error a stream is no promise
        watch: () => Promise.resolve({ left: 1 }),
        infer: () => ({ outputs: {} }),
      })
    }
    expectTypeOf(misuse).toBeFunction()
  })
})
