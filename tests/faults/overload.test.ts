import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { eventually } from '../conformance/expectations.ts'
import { ask, inferenceAt } from '../conformance/gateway_http.ts'
import { metricAt } from '../conformance/gateway_metrics.ts'
import { busyModel } from './busy_model.ts'
import { report } from './figures.ts'
import { type GatewayPool, startPool, WEIGHTS } from './gateway_pool.ts'

// Ten times as many calls as a worker can compute, each with a deadline: those that would miss it are refused at once, so
// that the worker computes nothing but what is still wanted.

const TIMEOUT_MS = 2_000
const FOR_MS = 6_000
/** A run of some 40 ms: what the machine does beside it is small. */
const SIDE = 640

let pool: GatewayPool
beforeAll(async () => {
  pool = await startPool()
  await ask(pool.url, 'PUT', '/models/heavy/versions/1', { body: busyModel(WEIGHTS, SIDE) })
  pool.join('steady')
  await eventually(async () => (await pool.workers()).length === 1)
}, 60_000)
afterAll(() => pool?.[Symbol.asyncDispose]())

/** Answers per second while four callers always have a call waiting. */
async function peak(): Promise<number> {
  const { infer } = inferenceAt(pool.url)
  let answered = 0
  const startedMs = performance.now()
  await Promise.all(Array.from({ length: 4 }, async () => {
    while (performance.now() - startedMs < FOR_MS) {
      await infer({ model: 'heavy', inputs: { x: row(1) } }, { timeoutMs: 60_000 })
      answered++
    }
  }))
  return answered * 1000 / (performance.now() - startedMs)
}

/** Calls at a steady rate, whatever becomes of them. */
async function offer(perSecond: number) {
  const { infer } = inferenceAt(pool.url)
  const seen = { good: 0, goodInWindow: 0, shed: [] as number[], late: 0, other: [] as unknown[] }
  const calls: Promise<void>[] = []
  const startedMs = performance.now()
  while (performance.now() - startedMs < FOR_MS) {
    const due = Math.floor((performance.now() - startedMs) / 1000 * perSecond)
    while (calls.length < due) {
      const sentMs = performance.now()
      const call = infer({ model: 'heavy', inputs: { x: row(calls.length) } }, { timeoutMs: TIMEOUT_MS })
      calls.push(call.then(() => {
        seen.good++
        if (performance.now() - startedMs < FOR_MS) seen.goodInWindow++
      }, (thrown) => {
        const { code } = RpcError.from(thrown)
        if (code === 'resource_exhausted') seen.shed.push(performance.now() - sentMs)
        else if (code === 'deadline_exceeded') seen.late++
        else seen.other.push(thrown)
      }))
    }
    await sleep(2)
  }
  await Promise.all(calls)
  return { ...seen, offered: calls.length, goodPerSecond: seen.goodInWindow * 1000 / FOR_MS }
}

/** Runs that began on the worker so far. */
async function runs(): Promise<number> {
  const [sent, back] = await Promise.all([
    metricAt(pool.url, 'shoal_pool_runs_total{device="wasm"}'),
    metricAt(pool.url, 'shoal_pool_runs_taken_back_total').catch(() => 0),
  ])
  return sent - (back || 0)
}

function row(value: number): Tensor {
  return Tensor.from('float32', [1, 3], [value % 7, 1, 2])
}

it('21: at ten times the load the worker computes as many answers as ever', async () => {
  await peak()
  const before = await peak()
  const runsBefore = await runs()
  const { offered, good, shed, late, other, goodPerSecond } = await offer(10 * before)
  const computed = await runs() - runsBefore
  const after = await peak()
  const quantile = (part: number) => shed.toSorted((a, b) => a - b)[Math.floor(part * shed.length)] ?? NaN
  report('21 load 1 → 10×', 'goodput ≥ 0.9, shed in < 10 ms', {
    'calls offered': offered,
    'answers per second at most': Math.round(10 * Math.min(before, after)) / 10,
    'answers in time per second at 10×': Math.round(10 * goodPerSecond) / 10,
    'that is of the rate before and after': Math.round(100 * goodPerSecond / ((before + after) / 2)) / 100,
    'runs on the worker, and answers in time': `${computed}, ${good}`,
    'calls shed': shed.length,
    'shed within, median (ms)': Math.round(10 * quantile(0.5)) / 10,
    'shed within, p99 (ms)': Math.round(10 * quantile(0.99)) / 10,
    'calls too late all the same': late,
  })
  expect(other).toEqual([])
  expect(shed.length).toBeGreaterThan(offered / 2)
  // What the worker did was wanted, all but what a machine that others load made late.
  expect(good / computed).toBeGreaterThanOrEqual(0.8)
}, 180_000)
