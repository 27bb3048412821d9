import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { eventually } from '../conformance/expectations.ts'
import { report } from './figures.ts'
import { callAll, type GatewayPool, startPool } from './gateway_pool.ts'

// Connections that send a request's headers a byte at a time, so that each holds a place for as long as it likes.

const SLOW = 400
const LOAD = { calls: 200, callers: 4 }

let pool: GatewayPool
beforeAll(async () => {
  pool = await startPool()
  pool.join('steady')
  await eventually(async () => (await pool.workers()).length === 1)
}, 60_000)
afterAll(() => pool?.[Symbol.asyncDispose]())

/** Calls as usual. @returns the latency that one call in a hundred exceeded */
async function p99(): Promise<number> {
  const outcome = await callAll(pool.url, LOAD, () => {})
  expect({ ...outcome, latenciesMs: [] }).toEqual({
    answered: LOAD.calls,
    failed: [],
    wrong: [],
    toldToComeBack: 0,
    latenciesMs: [],
  })
  return outcome.latenciesMs.toSorted((a, b) => a - b)[Math.floor(0.99 * LOAD.calls)] ?? NaN
}

async function openSlow(): Promise<{ socket: Socket; closed: Promise<number> }> {
  const { hostname, port } = new URL(pool.url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  const openedMs = performance.now()
  socket.on('error', () => {})
  socket.resume()
  socket.write('POST /rpc/shoal.Inference/infer HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ')
  const drip = setInterval(() => socket.write('a'), 500)
  // Not `once`, which takes the reset by which it is closed for a failure.
  const closed = new Promise<number>((resolve) =>
    socket.once('close', () => {
      clearInterval(drip)
      resolve(performance.now() - openedMs)
    })
  )
  return { socket, closed }
}

it('20: slow senders of headers are closed, and others do not notice', async () => {
  await p99()
  const before = await p99()
  const slow = await Promise.all(Array.from({ length: SLOW }, openSlow))
  let open = SLOW
  for (const { closed } of slow) void closed.then(() => open--)
  const during: number[] = []
  // Nobody but the gateway closes them: this ends when it has closed the last.
  while (open > 0) during.push(await p99())
  const longest = Math.max(...await Promise.all(slow.map(({ closed }) => closed)))
  report('20 slow loris', 'closed, healthy p99 unmoved', {
    'slow connections': SLOW,
    'closed by the gateway': SLOW - open,
    'longest one open (s)': Math.round(longest / 100) / 10,
    'p99 of calls before (ms)': Math.round(before),
    'p99 of calls meanwhile (ms)': Math.round(during.toSorted((a, b) => a - b)[during.length >> 1] ?? NaN),
    'calls failed': 0,
  })
}, 180_000)
