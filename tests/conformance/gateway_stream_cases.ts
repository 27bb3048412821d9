import { afterAll, beforeAll, expect, it } from 'vitest'
import * as z from 'zod'
import { runOnNode } from '../../functions/run_node.ts'
import { serve } from '../../shared/registry/serve.ts'
import { clientOver } from '../../shared/rpc/client.ts'
import { defineService, serverStreaming } from '../../shared/rpc/contract.ts'
import type { HttpCodec } from '../../shared/rpc/http.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { runHere } from '../unit/cli/in_process.ts'
import { eventually, refusal } from './expectations.ts'
import { ask } from './gateway_http.ts'

const Ticks = defineService({
  name: 'demo.Ticks',
  version: '1.0.0',
  methods: {
    tick: serverStreaming({
      input: z.object({ count: z.number(), fails: z.boolean().default(false), filler: z.number().default(0) }),
      output: z.object({ n: z.number(), filler: z.string() }),
      idempotent: true,
    }),
  },
})

/** A streaming function on Node that counts what it made and how often it was stopped. */
async function startTicks(gateway: string, sockets: boolean) {
  const seen = { made: 0, ended: 0, aborted: 0 }
  const app = serve(Ticks, {
    async *tick({ count, fails, filler }, { signal }) {
      signal.addEventListener('abort', () => seen.aborted++, { once: true })
      try {
        for (let n = 0; n < count; n++) {
          // A producer that waits now and then, as real ones do: the socket is served between.
          if (n % 16 === 15) await new Promise((resolve) => setTimeout(resolve, 1))
          seen.made++
          yield { n, filler: 'x'.repeat(filler) }
        }
        if (fails) throw new RpcError('out_of_range', 'Cannot tick further', { details: [{ at: count }] })
      } finally {
        seen.ended++
      }
    },
  })
  const running = await runOnNode(app, { env: { SHOAL_GATEWAY: gateway }, sockets })
  if (app.lease.failure) throw app.lease.failure
  return { seen, app, stop: () => running.stop() }
}

/** Server-streaming methods through the gateway to a function, over HTTP or over its socket. */
export function streamCases(at: () => string, sockets: boolean): void {
  let ticks: Awaited<ReturnType<typeof startTicks>>
  const client = (codec: HttpCodec = 'msgpack') => clientOver(Ticks, { transport: fetchTransport(at(), { codec }) })
  beforeAll(async () => {
    ticks = await startTicks(at(), sockets)
    // Until the gateway has heard of it and, where it has one, has opened its socket.
    const first = async () => {
      for await (const { n } of client().tick({ count: 1 })) return n === 0
    }
    await eventually(async () => await first().catch(() => false) === true && (!sockets || ticks.app.sockets.size > 0))
  })
  afterAll(() => ticks.stop())

  it('carries streams in both codecs, in order', async () => {
    for (const codec of ['json', 'msgpack'] as const) {
      let attempts = ''
      const items: number[] = []
      const options = { onMetadata: (got: Readonly<Record<string, string>>) => attempts = got['shoal-attempts'] ?? '' }
      for await (const { n } of client(codec).tick({ count: 200 }, options)) items.push(n)
      expect([items, attempts]).toEqual([[...Array(200).keys()], '1'])
    }
  })

  it('brings an error after the items that came before it', async () => {
    const items: number[] = []
    const reading = (async () => {
      for await (const { n } of client().tick({ count: 3, fails: true })) items.push(n)
    })()
    const { code, message, details } = await refusal(reading)
    expect([items, code, message, details]).toEqual([[0, 1, 2], 'out_of_range', 'Cannot tick further', [{ at: 3 }]])
  })

  it('streams server-sent events to whoever accepts them', async () => {
    const headers = { accept: 'text/event-stream' }
    const answer = await ask(at(), 'POST', '/rpc/demo.Ticks/tick', { json: { count: 2 }, headers })
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    expect(answer.text).toBe(
      'data: {"n":0,"filler":""}\n\ndata: {"n":1,"filler":""}\n\nevent: end\ndata: {}\n\n',
    )
    const refused = await ask(at(), 'POST', '/rpc/demo.Ticks/tick', { json: { count: 'two' }, headers })
    expect([refused.status, refused.json]).toMatchObject([400, { code: 'invalid_argument' }])
    expect(refused.json.message).toContain('at "count"')
    const unknown = await ask(at(), 'POST', '/rpc/demo.Nothing/tick', { json: {}, headers })
    expect([unknown.status, unknown.json.code]).toEqual([404, 'not_found'])
  })

  it('is read by the command line, item by item', async () => {
    const args = ['call', 'demo.Ticks/tick', '{"count":3}', '--stream', '--gateway', at()]
    const { stdout, line } = await runHere(args)
    expect([stdout.trim().split('\n').map((one) => JSON.parse(one).n), line]).toEqual([[0, 1, 2], ''])
    const failing = await runHere([
      'call',
      'demo.Ticks/tick',
      '{"count":1,"fails":true}',
      '--stream',
      '--gateway',
      at(),
    ])
    expect([failing.stdout, failing.line]).toEqual(['{"n":0,"filler":""}\n', 'shoal: Cannot tick further'])
  })

  it('stops the function when its reader stops, and makes it wait for a slow one', async () => {
    const { ended, aborted } = ticks.seen
    const made = ticks.seen.made
    let read = 0
    // A gigabyte of items: what lies in the buffers of all hops on the way is far less.
    for await (const _ of client().tick({ count: 100_000, filler: 10_000 })) {
      if (++read === 5) {
        await new Promise((resolve) => setTimeout(resolve, 300))
        break
      }
    }
    await eventually(async () => ticks.seen.ended > ended && ticks.seen.aborted > aborted)
    expect(ticks.seen.made - made).toBeLessThan(5_000)
  })

  it('ends a stream everywhere when its time is over', async () => {
    const { ended } = ticks.seen
    const headers = { accept: 'text/event-stream', 'connect-timeout-ms': '200' }
    const { text } = await ask(at(), 'POST', '/rpc/demo.Ticks/tick', { json: { count: 1e9 }, headers })
    expect(text).toMatch(/event: error\ndata: {"code":"deadline_exceeded"/)
    await eventually(async () => ticks.seen.ended > ended)
  })
}
