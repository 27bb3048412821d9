import { systemClock } from '../../shared/base/clock.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { seededRandom } from '../../shared/base/random.ts'
import { Pool, type PoolWorker } from '../../shared/pool/pool.ts'
import { Deadline } from '../../shared/rpc/deadline.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { exponentialMs } from '../unit/virtual_time.ts'
import type { Series } from './figures.ts'
import { simulatedWorker } from './simulated_worker.ts'

const ROUNDS = 5
const FOR_MS = 2_500
const CALLERS = 48
const MODEL = { sha256: 'b'.repeat(64), batchable: false }
const INPUTS = { x: Tensor.from('float32', [1, 1], [1]) }

/** Milliseconds of a run on each worker. */
const FLEETS = {
  goodput_vs_capacity: [40, 20, 10],
  goodput_one_slow: [10, 10, 10, 100],
}

export async function measureGoodput(series: Series): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, fleet] of Object.entries(FLEETS)) {
      const capacity = capacityOf(fleet)
      series.add(name, 'ratio', await saturate(fleet) / capacity)
      const ours = await p99(fleet, poolOf(fleet), round)
      const robin = await p99(fleet, roundRobin(fleet), round)
      series.add(`${name}_p99`, 'ms', ours)
      series.add(`${name}_p99_round_robin`, 'ms', robin)
    }
    await overload(series, round)
  }
}

type Call = (timeoutMs: number) => Promise<unknown>

function poolOf(fleet: readonly number[]): Call {
  const pool = new Pool({
    clock: systemClock,
    metrics: new Metrics(),
    random: seededRandom(1),
    soon: setImmediate,
  })
  for (const [i, ms] of fleet.entries()) {
    pool.add(simulatedWorker(`w${i}`, ms), [MODEL.sha256])
  }
  return async (timeoutMs) => {
    using deadline = new Deadline(systemClock, timeoutMs)
    return await pool.run({
      model: MODEL,
      inputs: INPUTS,
      priority: 'normal',
      signal: deadline.signal,
      timeoutMs,
    })
  }
}

/** What a balancer does that knows nothing of its backends: each call to the next of them, which queues it. */
function roundRobin(fleet: readonly number[]): Call {
  const workers: PoolWorker[] = fleet.map((ms, i) => simulatedWorker(`w${i}`, ms))
  let next = 0
  return async (timeoutMs) => {
    using deadline = new Deadline(systemClock, timeoutMs)
    const worker = workers[next++ % workers.length]
    return await worker?.run(MODEL, [{ inputs: INPUTS }], deadline.signal)
  }
}

function capacityOf(fleet: readonly number[]): number {
  return fleet.reduce((sum, ms) => sum + 1000 / ms, 0)
}

/** Answers per second with callers who always have a call waiting. */
async function saturate(fleet: readonly number[]): Promise<number> {
  const call = poolOf(fleet)
  let answered = 0
  const startedMs = performance.now()
  const warmMs = startedMs + 500
  const endMs = warmMs + FOR_MS
  await Promise.all(Array.from({ length: CALLERS }, async () => {
    for (;;) {
      await call(30_000)
      const nowMs = performance.now()
      if (nowMs >= endMs) return
      if (nowMs >= warmMs) answered++
    }
  }))
  return answered * 1000 / FOR_MS
}

interface Offered {
  answered: number
  failed: number
  latencies: number[]
  shedLatencies: number[]
}

/** Poisson arrivals at so many per second, the same for a seed. Waits for what they come to, unless told not to. */
async function offer(
  call: Call,
  perSecond: number,
  forMs: number,
  timeoutMs: number,
  seed: number,
  waits = true,
): Promise<Offered> {
  const random = seededRandom(seed)
  const offered: Offered = {
    answered: 0,
    failed: 0,
    latencies: [],
    shedLatencies: [],
  }
  const pending: Promise<void>[] = []
  const startedMs = performance.now()
  for (let atMs = 0; atMs < forMs; atMs += exponentialMs(perSecond, random)) {
    const waitMs = startedMs + atMs - performance.now()
    if (waitMs > 1) {
      await new Promise((resolve) => setTimeout(resolve, waitMs))
    } else if (pending.length % 16 === 0) {
      // Arrivals that fall together still let answers through between them.
      await new Promise((resolve) => setImmediate(resolve))
    }
    const sentMs = performance.now()
    pending.push(
      call(timeoutMs).then(() => {
        if (performance.now() - startedMs <= forMs) offered.answered++
        offered.latencies.push(performance.now() - sentMs)
      }, (thrown) => {
        offered.failed++
        if ((thrown as { code?: string }).code === 'resource_exhausted') {
          offered.shedLatencies.push(performance.now() - sentMs)
        }
      }),
    )
  }
  if (waits) await Promise.all(pending)
  return offered
}

async function p99(
  fleet: readonly number[],
  call: Call,
  round: number,
): Promise<number> {
  // What is slow shows itself in the first calls, which every worker gets some of.
  await offer(call, 0.5 * capacityOf(fleet), 500, 10_000, 100 + round)
  const { latencies } = await offer(
    call,
    0.7 * capacityOf(fleet),
    FOR_MS,
    10_000,
    round,
  )
  return quantile(latencies, 0.99)
}

async function overload(series: Series, round: number): Promise<void> {
  const fleet = FLEETS.goodput_vs_capacity
  const capacity = capacityOf(fleet)
  const peak = await saturate(fleet)
  const call = poolOf(fleet)
  await offer(call, 0.5 * capacity, 1_000, 1_000, round)
  const { answered, shedLatencies } = await offer(
    call,
    10 * capacity,
    FOR_MS,
    1_000,
    round,
  )
  const endedMs = performance.now()
  series.add(
    'overload_10x_goodput',
    'ratio',
    answered * 1000 / (FOR_MS * peak),
  )
  series.add('overload_10x_shed_p99', 'ms', quantile(shedLatencies, 0.99))
  series.add('overload_10x_shed', 'calls', shedLatencies.length)
  // Back at half load: how long until a call is answered as fast as if nothing had been.
  const usualMs = 3 * Math.max(...fleet)
  for (;;) {
    const startedMs = performance.now()
    const { latencies, failed } = await offer(
      call,
      0.5 * capacity,
      100,
      1_000,
      round,
    )
    if (failed === 0 && quantile(latencies, 1) <= usualMs) {
      series.add('overload_10x_recovery', 'ms', startedMs - endedMs)
      return
    }
  }
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[
    Math.min(sorted.length - 1, Math.floor(part * sorted.length))
  ] ?? NaN
}
