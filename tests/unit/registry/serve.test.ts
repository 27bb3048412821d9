import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { serve } from '../../../shared/registry/serve.ts'
import { createClient } from '../../../shared/rpc/create_client.ts'
import { fetchTransport } from '../../../shared/rpc/transports/fetch.ts'
import { refusal } from '../../conformance/expectations.ts'
import { settled, Sums } from '../rpc/harness.ts'

/** A function whose calls end when the test says so, called over its own `fetch`. */
function holding(limits?: Parameters<typeof serve<(typeof Sums)['methods']>>[2]) {
  const held: (() => void)[] = []
  const app = serve(Sums, {
    add: ({ a, b }) => new Promise((resolve) => held.push(() => resolve({ sum: a + b }))),
    scale: ({ x }) => ({ y: x }),
    async *count({ to }) {
      for (let n = 0; n < to; n++) {
        await new Promise<void>((resolve) => held.push(resolve))
        yield { n }
      }
    },
  }, limits)
  const fetch = async (request: Request) => await app.fetch(request)
  return { app, held, client: createClient(Sums, { transport: fetchTransport('http://function', { fetch }) }) }
}

it('holds each method to its limits, and says when to come again', async () => {
  const { held, client } = holding({ limits: { add: { maxConcurrent: 1, maxQueued: 1 } } })
  const calls = [client.add({ a: 1 }), client.add({ a: 2 })]
  await settled()
  const { code, retryAfterMs, neverSent } = await refusal(client.add({ a: 3 }))
  expect([code, retryAfterMs, neverSent]).toEqual(['resource_exhausted', 1000, true])
  expect(held.length).toBe(1)
  held[0]?.()
  await settled()
  held[1]?.()
  expect(await Promise.all(calls)).toEqual([{ sum: 1 }, { sum: 2 }])
})

it('ends when the calls that it took have ended, streams too, and takes no others', async () => {
  const { app, held, client } = holding()
  const items: number[] = []
  const running = [
    client.add({ a: 1 }),
    (async () => {
      for await (const { n } of client.count({ to: 2 })) items.push(n)
    })(),
  ]
  await settled()
  let drained = false
  const draining = app.drain({}, { limitMs: 60_000 }).then(() => drained = true)
  await settled()
  const { code, neverSent } = await refusal(client.add({ a: 2 }))
  expect([code, neverSent]).toEqual(['unavailable', true])
  for (let i = 0; i < 3; i++) {
    expect(drained).toBe(false)
    held[i]?.()
    await settled()
  }
  await Promise.all([draining, ...running])
  expect(items).toEqual([0, 1])
})

it('does not wait for ever', async () => {
  const { app, client } = holding()
  const call = client.add({ a: 1 })
  await settled()
  await app.drain({}, { limitMs: 20 })
  await Promise.race([call.then(() => expect.fail('expected no answer')), settled()])
})

it('asks callers over HTTP to let go of their connections once it leaves', async () => {
  const { app } = holding()
  const ask = async () => {
    const headers = { 'content-type': 'application/json' }
    const answer = await app.request(`/rpc/${Sums.name}/scale`, { method: 'POST', headers, body: '{}' })
    return answer.headers.get('connection')
  }
  expect(await ask()).toBe(null)
  await app.drain({})
  expect(await ask()).toBe('close')
})

it('serves whether or not it can register, and says why it could not', async () => {
  const url = 'http://function.example'
  const cases = [
    [
      { SHOAL_URL: url, SHOAL_GATEWAY: 'http://127.0.0.1:1' },
      'Cannot register at http://127.0.0.1:1: it does not answer',
    ],
    [
      { SHOAL_URL: url, SHOAL_GATEWAY: '127.0.0.1' },
      'Cannot register: SHOAL_GATEWAY must be an http(s) URL, got "127.0.0.1"',
    ],
    [{ SHOAL_URL: 'here', SHOAL_GATEWAY: url }, 'Cannot register: SHOAL_URL must be an http(s) URL, got "here"'],
    [{ SHOAL_GATEWAY: url }, undefined],
  ] as const
  for (const [env, message] of cases) {
    const { app } = holding()
    await app.lease.touch(env)
    expect(app.lease.failure?.message).toBe(message)
    expect(await app.lease.leave(env)).toBe(message !== undefined)
    expect(app.lease.failure?.message).toBe(message)
  }
})

it('says what the gateway answered to its registration', async () => {
  const refusing = createServer((_, response) => {
    response.writeHead(401, { 'content-type': 'application/problem+json' })
      .end(
        JSON.stringify({ title: 'unauthenticated', detail: 'Cannot let the caller in: a valid API key is required' }),
      )
  })
  await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve))
  try {
    const gateway = `http://127.0.0.1:${(refusing.address() as AddressInfo).port}`
    const { app } = holding()
    await app.lease.touch({ SHOAL_URL: 'http://function.example', SHOAL_GATEWAY: `${gateway}/` })
    expect([app.lease.failure?.code, app.lease.failure?.message]).toEqual([
      'unauthenticated',
      `Cannot register at ${gateway}: it says "Cannot let the caller in: a valid API key is required"`,
    ])
  } finally {
    refusing.closeAllConnections()
    await new Promise((resolve) => refusing.close(resolve))
  }
})
