import { describe, expect, it } from 'vitest'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Pool } from '../../../shared/pool/pool.ts'
import { Deadline } from '../../../shared/rpc/deadline.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { exponentialMs, settle, VirtualTime } from '../virtual_time.ts'
import { HeldWorker, rowsOf, sha } from './held_worker.ts'

const WORKERS = 4
const RUN_MS = 100
const CAPACITY_PER_S = WORKERS * 1000 / RUN_MS
const TIMEOUT_MS = 1_000

interface Outcome {
  offered: number
  good: number
  shed: number
  late: number
  longestShedMs: number
  lastGoodMs: number
}

/** Poisson arrivals at a multiple of what the workers can do, each with a deadline. Runs take RUN_MS ± 20 %. */
async function offer(load: number, seconds: number, shedding: boolean): Promise<Outcome> {
  const time = new VirtualTime()
  const random = seededRandom(5)
  const pool = new Pool({ clock: time, metrics: new Metrics(), random })
  for (let i = 0; i < WORKERS; i++) {
    // One run at a time, as a device does; a run cancelled before it begins is skipped.
    let freeAtMs = 0
    pool.add({
      id: `w${i}`,
      name: '',
      device: 'wasm',
      run: (_model, calls, signal) =>
        new Promise((resolve, reject) => {
          const startMs = Math.max(time.now(), freeAtMs)
          const endMs = startMs + RUN_MS * (0.8 + 0.4 * random())
          freeAtMs = endMs
          const reply = {
            calls: calls.map(({ inputs }) => ({ outputs: inputs })),
            timings: { loadMs: 0, waitMs: 0, runMs: 1 },
          }
          const cancel = time.after(endMs - time.now(), () => resolve(reply))
          signal.addEventListener('abort', () => {
            if (time.now() < startMs) freeAtMs -= endMs - startMs
            cancel()
            reject(signal.reason)
          })
        }),
    })
  }
  const outcome: Outcome = { offered: 0, good: 0, shed: 0, late: 0, longestShedMs: 0, lastGoodMs: 0 }
  const arrive = () => {
    if (time.now() >= seconds * 1000) return
    time.after(exponentialMs(load * CAPACITY_PER_S, random), arrive)
    outcome.offered++
    const startedAtMs = time.now()
    const deadline = new Deadline(time, TIMEOUT_MS)
    pool.run({
      model: { sha256: sha(1), batchable: false },
      inputs: rowsOf(0),
      priority: 'normal',
      signal: deadline.signal,
      timeoutMs: shedding ? TIMEOUT_MS : undefined,
    }).then(() => {
      outcome.good++
      outcome.lastGoodMs = time.now()
    }, (error: RpcError) => {
      if (error.code === 'resource_exhausted') {
        outcome.shed++
        outcome.longestShedMs = Math.max(outcome.longestShedMs, time.now() - startedAtMs)
      } else outcome.late++
    }).finally(() => deadline[Symbol.dispose]())
  }
  arrive()
  await time.runUntil(seconds * 1000 + 2 * TIMEOUT_MS)
  expect(pool.queued + pool.models).toBe(0)
  expect(time.pending).toBe(0)
  return outcome
}

describe('pool under load', () => {
  it('keeps its goodput at ten times the load, by refusing at once what it could not answer in time', async () => {
    const seconds = 20
    const figures: Record<string, Record<string, number>> = {}
    for (const [load, shedding] of [[0.5, true], [1, true], [2, true], [10, true], [10, false]] as const) {
      const { good, shed, late, longestShedMs, lastGoodMs } = await offer(load, seconds, shedding)
      const goodput = good / (CAPACITY_PER_S * Math.max(seconds, lastGoodMs / 1000))
      figures[`${load}x ${shedding ? '' : 'without shedding by deadline'}`] = {
        goodput,
        good,
        shed,
        late,
        longestShedMs,
      }
      if (load >= 2 && shedding) {
        expect(goodput).toBeGreaterThanOrEqual(0.9)
        expect(longestShedMs).toBe(0)
        expect(late / (good + late)).toBeLessThan(0.05)
      }
    }
    console.table(figures)
  })

  it('dispatches with 1,024 workers and 2,048 queued calls: cost of one call, for the record', async () => {
    const time = new VirtualTime()
    const pool = new Pool({ clock: time, metrics: new Metrics() })
    const workers = Array.from({ length: 1024 }, (_, i) => new HeldWorker(`w${i}`))
    for (const worker of workers) pool.add(worker)
    const { signal } = new AbortController()
    const inputs = rowsOf(0)
    let answered = 0
    const submit = (model: number, batchable: boolean) => {
      const request = { model: { sha256: sha(model), batchable }, inputs, priority: 'normal' as const, signal }
      void pool.run(request).then(() => answered++)
    }
    const figures: Record<string, string> = {}
    const measure = async (what: string, count: number, work: () => void) => {
      const startMs = performance.now()
      work()
      await settle()
      figures[what] = `${(1000 * (performance.now() - startMs) / count).toFixed(1)} µs`
    }
    await measure('onto an idle worker', 1024, () => {
      for (let i = 0; i < 1024; i++) submit(1, false)
    })
    await measure('behind a busy worker', 1024, () => {
      for (let i = 0; i < 1024; i++) submit(1, false)
    })
    await measure('into the queue, one model', 2048, () => {
      for (let i = 0; i < 2048; i++) submit(1, false)
    })
    await measure('answer, and dispatch of the next', 2048, () => {
      for (const worker of workers) for (const run of worker.open) run.answer()
    })
    await measure('into the queue, 2,048 models', 2048, () => {
      for (let i = 0; i < 2048; i++) submit(i, false)
    })
    await measure('answer, and dispatch of the next, 2,048 models', 2048, () => {
      for (const worker of workers) for (const run of worker.open) run.answer()
    })
    while (workers.some(({ open }) => open.length > 0)) {
      for (const worker of workers) for (const run of worker.open) run.answer()
      await settle()
    }
    console.table(figures)
    expect(answered).toBe(1024 * 2 + 2048 * 2)
    expect(pool.queued + pool.models).toBe(0)
  })
})
