import { afterAll, beforeAll, expect, it } from 'vitest'
import { eventually, realTime } from '../conformance/expectations.ts'
import { type Caller, quantile, startCaller } from './caller.ts'
import { extent, report } from './figures.ts'
import { type GatewayPool, startPool } from './gateway_pool.ts'

// Connections that send a request's headers a byte at a time, so that each holds a place for as long as it likes.

const SLOW = 400
const ROUNDS = extent({ quick: 1, thorough: 3 })
const LOAD = { calls: 200, callers: 4 }
/** Between periods of calls: without a pause where figures are wanted, else so that there are some. */
const REST_MS = extent({ quick: 1_500, thorough: 0 })
/** Beside how many periods the same calls are made alone, to compare them. */
const mostAlone = (periods: number) => extent({ quick: 1, thorough: periods })

let pool: GatewayPool
beforeAll(async () => {
  pool = await startPool()
  pool.join('steady')
  await eventually(async () => (await pool.workers()).length === 1)
})
afterAll(() => pool?.[Symbol.asyncDispose]())

/** Calls as usual: how long half of them took at most, and all but one in a hundred. */
async function measure(caller: Caller): Promise<{ p50: number; p99: number }> {
  const { latenciesMs, bad } = await caller.run('usual', LOAD)
  expect([latenciesMs.length, bad]).toEqual([LOAD.calls, []])
  return { p50: quantile(latenciesMs, 0.5), p99: quantile(latenciesMs, 0.99) }
}

it('20: slow senders of headers are closed, and others do not notice', async () => {
  await using caller = await startCaller(pool.url)
  await using slow = await startCaller(pool.url)
  await measure(caller)
  const [alone, meanwhile]: { p50: number; p99: number }[][] = [[], []]
  const openMs: number[] = []
  // In turns: what else the machine does weighs on both alike.
  for (let round = 0; round < ROUNDS; round++) {
    let isOver = false
    const dripping = slow.run('drip', { connections: SLOW }).finally(() => isOver = true)
    let periods = 0
    // Nobody but the gateway closes them: this ends when it has closed the last.
    while (!isOver) {
      const period = await measure(caller)
      if (isOver) break
      meanwhile?.push(period)
      periods++
      await realTime(REST_MS)
    }
    openMs.push(...await dripping)
    for (let i = 0; i < mostAlone(periods); i++) alone?.push(await measure(caller))
  }
  const median = (of: 'p50' | 'p99', periods: typeof alone = []) =>
    Number(quantile(periods.map((period) => period[of]), 0.5).toFixed(1))
  report('20 slow loris', 'closed, healthy p99 unmoved', {
    'slow connections': ROUNDS * SLOW,
    'closed by the gateway': openMs.length,
    'longest one open (s)': Number((Math.max(...openMs) / 1000).toFixed(1)),
    'periods of 200 calls': alone?.length ?? 0,
    'p50 of calls alone, meanwhile (ms)': `${median('p50', alone)}, ${median('p50', meanwhile)}`,
    'p99 of calls alone, meanwhile (ms)': `${median('p99', alone)}, ${median('p99', meanwhile)}`,
    'calls failed': 0,
  })
}, 180_000)
