import { afterAll, beforeAll, expect, it } from 'vitest'
import { eventually } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { metricAt, parseMetrics } from '../conformance/gateway_metrics.ts'
import { busyModel } from './busy_model.ts'
import { quantile, startCaller } from './caller.ts'
import { extent, report } from './figures.ts'
import type { Running } from '../fixtures/process.ts'
import { systemView } from '../../functions/operations/proc.ts'
import { type GatewayPool, startPool, WEIGHTS } from './gateway_pool.ts'

// Ten times as many calls as a worker can compute, each with a deadline: those that would miss it are refused at once, so
// that the worker computes nothing but what is still wanted.

const TIMEOUT_MS = 5_000
const FOR_MS = 6_000
const ROUNDS = extent({ quick: 1, thorough: 3 })
/** Where another's work in the same caches made every run slower for a while, the median of more rounds tells. */
const MORE_ROUNDS = 4
/** A run of some 150 ms: what caller and gateway need of the machine beside it is small, also at ten times the load. */
const SIDE = 1024
/** As the gateway measures calls, by outcome. */
const SHED = 'rpc_server_call_duration_seconds_bucket{code="resource_exhausted",'
const ANSWERED = 'rpc_server_call_duration_seconds_count{code="ok",face="rpc"}'

let pool: GatewayPool
let worker: Running
beforeAll(async () => {
  pool = await startPool()
  await ask(pool.url, 'PUT', '/models/heavy/versions/1', { body: busyModel(WEIGHTS, SIDE) })
  worker = pool.join('steady')
  await eventually(async () => (await pool.workers()).length === 1)
})
afterAll(() => pool?.[Symbol.asyncDispose]())

/** Runs that began on the worker so far. */
async function runs(): Promise<number> {
  const [sent, back] = await Promise.all([
    metricAt(pool.url, 'shoal_pool_runs_total{device="wasm"}'),
    metricAt(pool.url, 'shoal_pool_runs_taken_back_total').catch(() => 0),
  ])
  return sent - (back || 0)
}

/** What a task gives, answers to its callers for each second of the worker's processor time, and runs for them. */
async function measured<T>(
  task: () => Promise<T>,
): Promise<{ result: T; answered: number; computed: number; cpu: number }> {
  const look = async () => ({
    answered: await metricAt(pool.url, ANSWERED).catch(() => 0),
    computed: await runs().catch(() => 0),
    cpu: (await systemView(worker.pid))?.cpuSeconds ?? NaN,
  })
  const before = await look()
  const result = await task()
  const after = await look()
  const [answered, computed, cpu] = [
    after.answered - before.answered,
    after.computed - before.computed,
    after.cpu - before.cpu,
  ]
  return { result, answered, computed, cpu: answered / cpu }
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
  // Until what is new has been compiled.
  await caller.run('peak', { ...load, forMs: 2_000 })
  const peak = () => measured(() => caller.run('peak', load))
  const peaks = [await peak()]
  const [goodputs, cpuGoodputs]: [number[], number[]] = [[], []]
  const [shedMs, shedRunningMs]: [number[], number[]] = [[], []]
  let [offered, computed, answered, late] = [0, 0, 0, 0]
  // In turns: what else the machine does weighs on both alike.
  for (let round = 0; round < ROUNDS || (round < ROUNDS + MORE_ROUNDS && quantile(cpuGoodputs, 0.5) < 0.9); round++) {
    const before = peaks.at(-1) ?? await peak()
    // Of what it can compute with a core to itself: others on the machine may have had it before, and not now.
    const atMost = Math.max(before.result, before.cpu)
    const rate = { model: 'heavy', perSecond: 10 * atMost, forMs: FOR_MS, timeoutMs: TIMEOUT_MS }
    const offer = await measured(() => caller.run('offer', rate))
    const seen = offer.result
    computed += offer.computed
    answered += offer.answered
    const after = await peak()
    peaks.push(after)
    goodputs.push(seen.goodPerSecond / ((before.result + after.result) / 2))
    cpuGoodputs.push(offer.cpu / ((before.cpu + after.cpu) / 2))
    shedMs.push(...seen.shedMs)
    shedRunningMs.push(...seen.shedRunningMs)
    offered += seen.offered
    late += seen.late
    expect(seen.other).toEqual([])
  }
  const goodput = quantile(goodputs, 0.5)
  const cpuGoodput = quantile(cpuGoodputs, 0.5)
  const { eventLoop } = (await ask(pool.url, 'GET', '/operations/report')).json
  const rounded = (value: number, digits = 2) => Number(value.toFixed(digits))
  report('21 load 1 → 10×', 'goodput ≥ 0.9, shed in < 10 ms', {
    'calls offered': offered,
    'answers per second at most': rounded(quantile(peaks.map(({ result }) => result), 0.5), 1),
    'goodput of that at 10×': rounded(goodput),
    'the same for each second of the worker’s processor time': rounded(cpuGoodput),
    'in each round': goodputs.map((one) => one.toFixed(2)).join(' '),
    'runs on the worker, and answers to callers who still waited': `${computed}, ${answered}`,
    'calls shed': shedMs.length,
    'shed by the gateway in 1 ms, 10 ms': `${rounded(await shedWithin(0.001), 3)}, ${
      rounded(await shedWithin(0.01), 3)
    }`,
    'lateness of timers in the gateway, p99 (ms)': rounded(eventLoop.delayP99Ms, 1),
    'shed within, at the caller, median (ms)': rounded(quantile(shedMs, 0.5), 1),
    'shed within, at the caller, p99 (ms)': rounded(quantile(shedMs, 0.99), 1),
    'of that time in which the caller’s process ran, median, p99 (ms)': `${rounded(quantile(shedRunningMs, 0.5), 1)}, ${
      rounded(quantile(shedRunningMs, 0.99), 1)
    }`,
    'calls too late all the same': late,
  })
  expect(shedMs.length).toBeGreaterThan(offered / 2)
  // By the clock as well, where nothing else runs on the machine, which alone makes it worth measuring at length.
  expect(cpuGoodput).toBeGreaterThanOrEqual(0.9)
  if (ROUNDS > 1) expect(goodput).toBeGreaterThanOrEqual(0.9)
  // What the worker did was wanted, as its gateway counts: a caller that others keep from running has its own clock.
  expect(answered / computed).toBeGreaterThanOrEqual(0.9)
}, 180_000)
