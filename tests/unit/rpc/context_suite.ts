import { assert } from 'chai'
import * as z from 'zod'
import { FakeClock, systemClock } from '../../../shared/base/clock.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { defineService, serverStreaming, unary } from '../../../shared/rpc/contract.ts'
import type { Deprecation, DeprecationNotice } from '../../../shared/rpc/deprecation.ts'
import { toResponse } from '../../../shared/rpc/http.ts'
import { answerHttp } from '../../../shared/rpc/http_server.ts'
import { type Context, createServer, implement } from '../../../shared/rpc/server.ts'
import { fetchTransport } from '../../../shared/rpc/transports/fetch.ts'
import { memoryTransport } from '../../../shared/rpc/transports/memory.ts'
import type { Suite } from '../../suite.ts'
import { requestOf, Sums } from './harness.ts'

/** A service whose old methods are on their way out, or which is so altogether. */
function aged(whole?: Deprecation) {
  const method = { input: z.object({}), output: z.object({}) }
  const contract = defineService({
    name: 'test.Aged',
    version: '1.0.0',
    deprecated: whole,
    methods: {
      fresh: unary(method),
      old: unary({ ...method, deprecated: { note: 'use fresh — it’s better', since: '2026-11-01' } }),
      older: serverStreaming({ ...method, deprecated: 'use nothing' }),
    },
  })
  const server = createServer([
    implement(contract, { fresh: () => ({}), old: () => ({}), older: () => (async function* () {})() }),
  ])
  return { contract, server }
}

export const contextSuite: Suite = {
  name: 'context and deprecation',
  cases: {
    'a handler knows until when it may work, who calls and under which trace': async () => {
      const clock = new FakeClock(5_000_000)
      let context: Context | undefined
      const server = createServer(
        [
          implement(Sums, {
            add(_, given) {
              context = given
              return { sum: 0 }
            },
            scale: ({ x }) => ({ y: x }),
            async *count() {},
          }),
        ],
        [],
        clock,
      )
      const request = requestOf({ a: 1 }, { service: 'test.Sums', method: 'add', timeoutMs: 250, caller: 'k_1' })
      await server(request)
      assert.deepEqual(
        [context?.deadlineMs, context?.timeoutMs, context?.caller, context?.traceparent, context?.signal],
        [5_000_250, 250, 'k_1', request.traceparent, request.signal],
      )
    },

    'the caller is who the server’s own front says, and no header of the caller': async () => {
      const seen: (string | undefined)[] = []
      const server = createServer([
        implement(Sums, {
          add(_, { caller }) {
            seen.push(caller)
            return { sum: 0 }
          },
          scale: ({ x }) => ({ y: x }),
          async *count() {},
        }),
      ])
      for (const caller of ['k_1', undefined]) {
        const headers = { 'content-type': 'application/json', 'shoal-caller': 'k_root' }
        const request = new Request('http://gateway', { method: 'POST', body: '{"a":1}', headers })
        const { status } = await answerHttp(server, request, 'test.Sums', 'add', { clock: systemClock, caller })
        assert.equal(status, 200)
      }
      assert.deepEqual(seen, ['k_1', undefined])
    },

    'a gateway hands the caller on to a function': async () => {
      let header: string | null = null
      const { send } = fetchTransport('http://function', {
        fetch(request) {
          header = request.headers.get('shoal-caller')
          return Promise.resolve(Response.json({}))
        },
      })
      await send(requestOf(1, { caller: 'k_1' }))
      assert.equal(header, 'k_1')
      await send(requestOf(1))
      assert.equal(header, null)
    },

    'what is deprecated says so with each answer, and the client once for each method': async () => {
      const { contract, server } = aged()
      const fetch = async (request: Request) => {
        const [, , service = '', method = ''] = new URL(request.url).pathname.split('/')
        return toResponse(await answerHttp(server, request, service, method, { clock: systemClock }))
      }
      const headersOf = async (method: string) => {
        const headers = { 'content-type': 'application/json' }
        const body = { method: 'POST', body: '{}', headers }
        const response = await fetch(new Request(`http://function/rpc/test.Aged/${method}`, body))
        return [response.headers.get('deprecation'), response.headers.get('shoal-deprecated')]
      }
      assert.deepEqual(await headersOf('fresh'), [null, null])
      // Seconds since 1970 of the day in UTC, as RFC 9745 has it; the note in what a header can carry.
      assert.deepEqual(await headersOf('old'), ['@1793491200', 'use fresh ? it?s better'])
      for (const transport of [fetchTransport('http://function', { fetch }), memoryTransport(server)]) {
        const notices: DeprecationNotice[] = []
        const client = clientOver(contract, { transport, onDeprecated: (notice) => notices.push(notice) })
        for (let i = 0; i < 3; i++) {
          await client.fresh({})
          await client.old({})
          for await (const _ of client.older({})) assert.fail('expected no item')
        }
        assert.deepEqual(notices, [
          { service: 'test.Aged', method: 'old', note: 'use fresh ? it?s better' },
          { service: 'test.Aged', method: 'older', note: 'use nothing' },
        ])
        transport.close()
      }
    },

    'a deprecated service tells of all its methods': async () => {
      const { contract, server } = aged('use test.Young')
      const notices: DeprecationNotice[] = []
      const transport = memoryTransport(server)
      await clientOver(contract, { transport, onDeprecated: (notice) => notices.push(notice) }).fresh({})
      assert.deepEqual(notices, [{ service: 'test.Aged', method: 'fresh', note: 'use test.Young' }])
      transport.close()
    },

    'a day that is none is refused': () => {
      for (const since of ['soon', '2026-13-45', '']) {
        assert.throws(() => aged({ note: 'n', since }), /deprecated.since must be a date such as 2026-11-01/)
      }
    },
  },
}
