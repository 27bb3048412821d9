import { afterAll, beforeAll, expect, it } from 'vitest'
import { eventually } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { metricAt, parseMetrics } from '../conformance/gateway_metrics.ts'
import { busyModel } from './busy_model.ts'
import { quantile, startCaller } from './caller.ts'
import { extent, report } from './figures.ts'
import { type GatewayPool, startPool, WEIGHTS } from './gateway_pool.ts'

// Ten times as many calls as a worker can compute, each with a deadline: those that would miss it are refused at once, so
// that the worker computes nothing but what is still wanted.

const TIMEOUT_MS = 5_000
const FOR_MS = 6_000
const ROUNDS = extent({ quick: 1, thorough: 3 })
/** A run of some 150 ms: what caller and gateway need of the machine beside it is small, also at ten times the load. */
const SIDE = 1024
/** As the gateway measures calls, by outcome. */
const SHED = 'rpc_server_call_duration_seconds_bucket{code="resource_exhausted",'
const ANSWERED = 'rpc_server_call_duration_seconds_count{code="ok",face="rpc"}'

let pool: GatewayPool
beforeAll(async () => {
  pool = await startPool()
  await ask(pool.url, 'PUT', '/models/heavy/versions/1', { body: busyModel(WEIGHTS, SIDE) })
  pool.join('steady')
  await eventually(async () => (await pool.workers()).length === 1)
}, 60_000)
afterAll(() => pool?.[Symbol.asyncDispose]())

/** Runs that began on the worker so far. */
async function runs(): Promise<number> {
  const [sent, back] = await Promise.all([
    metricAt(pool.url, 'shoal_pool_runs_total{device="wasm"}'),
    metricAt(pool.url, 'shoal_pool_runs_taken_back_total').catch(() => 0),
  ])
  return sent - (back || 0)
}

/** Of the calls that the gateway has shed so far, the part that it had answered within so many seconds, and all. */
async function shedWithin(seconds: number): Promise<number> {
  const { text } = await ask(pool.url, 'GET', '/metrics')
  const samples = parseMetrics(text).get('rpc_server_call_duration_seconds')?.samples ?? new Map<string, number>()
  const at = (bound: string) => [...samples].find(([key]) => key.startsWith(SHED) && key.includes(`le="${bound}"`))?.[1]
  return (at(String(seconds)) ?? NaN) / (at('+Inf') ?? NaN)
}

it('21: at ten times the load the worker computes as many answers as ever', async () => {
  await using caller = await startCaller(pool.url)
  const load = { model: 'heavy', callers: 4, forMs: FOR_MS }
  await caller.run('peak', load)
  const peaks = [await caller.run('peak', load)]
  const [goodputs, shedMs, shedRunningMs]: [number[], number[], number[]] = [[], [], []]
  let [offered, computed, answered, late] = [0, 0, 0, 0]
  // In turns: what else the machine does weighs on both alike.
  for (let round = 0; round < ROUNDS; round++) {
    const [runsBefore, answeredBefore] = [await runs(), await metricAt(pool.url, ANSWERED)]
    const before = peaks.at(-1) ?? NaN
    const rate = { model: 'heavy', perSecond: 10 * before, forMs: FOR_MS, timeoutMs: TIMEOUT_MS }
    const seen = await caller.run('offer', rate)
    computed += await runs() - runsBefore
    answered += await metricAt(pool.url, ANSWERED) - answeredBefore
    const after = await caller.run('peak', load)
    peaks.push(after)
    goodputs.push(seen.goodPerSecond / ((before + after) / 2))
    shedMs.push(...seen.shedMs)
    shedRunningMs.push(...seen.shedRunningMs)
    offered += seen.offered
    late += seen.late
    expect(seen.other).toEqual([])
  }
  const goodput = quantile(goodputs, 0.5)
  const rounded = (value: number, digits = 2) => Number(value.toFixed(digits))
  report('21 load 1 → 10×', 'goodput ≥ 0.9, shed in < 10 ms', {
    'calls offered': offered,
    'answers per second at most': rounded(quantile(peaks, 0.5), 1),
    'goodput of that at 10×': rounded(goodput),
    'in each round': goodputs.map((one) => one.toFixed(2)).join(' '),
    'runs on the worker, and answers to callers who still waited': `${computed}, ${answered}`,
    'calls shed': shedMs.length,
    'shed by the gateway in 1 ms, 10 ms': `${rounded(await shedWithin(0.001), 3)}, ${
      rounded(await shedWithin(0.01), 3)
    }`,
    'shed within, at the caller, median (ms)': rounded(quantile(shedMs, 0.5), 1),
    'shed within, at the caller, p99 (ms)': rounded(quantile(shedMs, 0.99), 1),
    'of that time in which the caller’s process ran, median, p99 (ms)': `${rounded(quantile(shedRunningMs, 0.5), 1)}, ${
      rounded(quantile(shedRunningMs, 0.99), 1)
    }`,
    'calls too late all the same': late,
  })
  expect(shedMs.length).toBeGreaterThan(offered / 2)
  expect(goodput).toBeGreaterThanOrEqual(0.9)
  // What the worker did was wanted, as its gateway counts: a caller that others keep from running has its own clock.
  expect(answered / computed).toBeGreaterThanOrEqual(0.9)
}, 180_000)
