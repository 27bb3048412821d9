import { describe, expect, it } from 'vitest'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { eventually, realTime } from '../conformance/expectations.ts'
import { ask, inferenceAt } from '../conformance/gateway_http.ts'
import { metricAt } from '../conformance/gateway_metrics.ts'
import { affine } from '../fixtures/models.ts'
import { busyModel } from './busy_model.ts'
import { report } from './figures.ts'
import { type GatewayPool, startPool, WEIGHTS } from './gateway_pool.ts'
import { TcpProxy } from './tcp_proxy.ts'

const ROW = [3, -1, 2]
/** What two unanswered pings and the wait for them come to, and as much again for a busy machine. */
const PATIENCE_MS = 5 * DEFAULTS.pingIntervalMs

/** A pool with a model that takes a worker long enough to be seen at it. */
async function startBusyPool(): Promise<GatewayPool> {
  const pool = await startPool()
  await ask(pool.url, 'PUT', '/models/long/versions/1', { body: busyModel(WEIGHTS, 1536) })
  return pool
}

const call = (pool: GatewayPool, model = 'long') =>
  inferenceAt(pool.url).infer({ model, inputs: { x: Tensor.from('float32', [1, 3], ROW) } }, { timeoutMs: 110_000 })
    .then(({ outputs }) => String([...outputs.y?.data as Float32Array]))

const named = async (pool: GatewayPool, name: string) => (await pool.workers()).find((worker) => worker.name === name)

/** Waits long: silence takes half a minute to mean something. */
const inTime = (question: () => Promise<boolean>) => eventually(question, () => realTime(PATIENCE_MS / 2000))

const RIGHT = String(affine(WEIGHTS, ROW))

// Both wait for half a minute of silence, so they wait together.
describe.concurrent('the link of a worker', () => {
  it('is silent while the worker is stopped: its calls go to others, and what it says later is refused', async () => {
    await using pool = await startBusyPool()
    const stopped = pool.join('stopped')
    await inTime(async () => await named(pool, 'stopped') !== undefined)
    expect(await call(pool)).toBe(RIGHT)
    const before = await named(pool, 'stopped')
    const answers: string[] = []
    const waiting = call(pool).then((answer) => answers.push(answer))
    await inTime(async () => (await named(pool, 'stopped'))?.inFlight === 1)
    stopped.signal('SIGSTOP')
    const stoppedAtMs = performance.now()
    pool.join('other')
    await inTime(async () => await named(pool, 'stopped') === undefined)
    const silentMs = performance.now() - stoppedAtMs
    await waiting
    const other = await named(pool, 'other')
    stopped.signal('SIGCONT')
    // It comes back under another number; what it had in hand is nobody's any more.
    await inTime(async () => await named(pool, 'stopped') !== undefined)
    const after = await named(pool, 'stopped')
    expect(await call(pool)).toBe(RIGHT)
    const late = (after?.served ?? 0) + await metricAt(pool.url, 'shoal_relay_late_answers_total')
    report('11 worker SIGSTOP > TTL, then CONT', 'its calls go elsewhere; its late result is refused', {
      droppedAfterMs: Math.round(silentMs),
      pingIntervalMs: DEFAULTS.pingIntervalMs,
      requeued: await metricAt(pool.url, 'shoal_pool_calls_requeued_total'),
      answers: answers.length,
      wrongAnswers: answers.filter((answer) => answer !== RIGHT).length,
      answeredByOther: other?.served ?? 0,
      lateResultsTaken: late,
    })
    expect([answers, other?.served, late]).toEqual([[RIGHT], 1, 0])
    expect(after?.id).not.toBe(before?.id)
  }, 240_000)

  it('is half open: both sides notice within two pings, and the worker comes back', async () => {
    await using pool = await startBusyPool()
    await using line = await TcpProxy.to(Number(new URL(pool.url).port))
    const cut = pool.join('cut', `http://127.0.0.1:${line.port}`)
    await inTime(async () => await named(pool, 'cut') !== undefined)
    expect(await call(pool)).toBe(RIGHT)
    const before = await named(pool, 'cut')
    const waiting = [call(pool), call(pool)]
    await inTime(async () => ((await named(pool, 'cut'))?.inFlight ?? 0) > 0)
    // Nobody comes back before the relay has noticed by itself.
    line.set({ refuse: true })
    line.halfOpen()
    const cutAtMs = performance.now()
    const pings = () => line.swallowed.filter(isPing).length
    pool.join('other')
    await inTime(async () => await named(pool, 'cut') === undefined)
    const [relayMs, relayPings] = [performance.now() - cutAtMs, pings()]
    await cut.wrote(/no answer to pings/)
    const [workerMs, workerPings] = [performance.now() - cutAtMs, pings()]
    expect(await Promise.all(waiting)).toEqual([RIGHT, RIGHT])
    line.set({})
    await inTime(async () => await named(pool, 'cut') !== undefined)
    const after = await named(pool, 'cut')
    report('16 half-open WebSocket', 'noticed in ≤ 2 pings on both sides; calls requeued, the worker comes back', {
      relayPings,
      relayMs: Math.round(relayMs),
      workerPings,
      workerMs: Math.round(workerMs),
      pingIntervalMs: DEFAULTS.pingIntervalMs,
      requeued: await metricAt(pool.url, 'shoal_pool_calls_requeued_total'),
      failedCalls: 0,
    })
    expect(workerPings).toBe(2)
    expect(relayPings).toBeLessThanOrEqual(2)
    expect(after?.id).not.toBe(before?.id)
  }, 240_000)
})

/** A masked text frame of four bytes, as a client's ping is: no answer to a call is that short. */
function isPing(bytes: Uint8Array): boolean {
  return bytes.byteLength === 10 && bytes[0] === 0x81 && bytes[1] === 0x84
}
