import { afterAll, beforeAll, expect, it } from 'vitest'
import type { LocalWorkers } from '../../infra/local_workers.ts'
import { jobs } from '../../shared/jobs/jobs_client.ts'
import { redisJobs } from '../../shared/stores/redis_jobs.ts'
import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { realTime } from '../conformance/expectations.ts'
import { type HeldWorker, joinHeldWorker } from '../conformance/gateway_held_worker.ts'
import { ask } from '../conformance/gateway_http.ts'
import { fixedModel } from '../fixtures/models.ts'
import { startWorkerdGateway } from '../runtime/start_workerd_gateway.ts'
import { report } from './figures.ts'

/** A Durable Object sleeps after 10 s without an event. */
const SILENCE_MS = 12_000
const LEASE_MS = 1_000

let gateway: LocalWorkers
beforeAll(async () => {
  gateway = await startWorkerdGateway()
  await ask(gateway.url, 'PUT', '/models/held/versions/1', { body: fixedModel() })
})
afterAll(() => gateway?.close())

const client = () => jobs({ gateway: gateway.url })
const submit = (mark: number) =>
  client().submit({ model: 'held', inputs: { x: Tensor.from('float32', [2, 3], new Array(6).fill(mark)) } })
const markOf = (result: unknown) => (result as { outputs: { y: Tensor } }).outputs.y.data[0]

/** Answers the next run. @returns what it was of */
async function work(worker: HeldWorker): Promise<unknown> {
  const run = await worker.nextRun()
  run.release()
  return run.inputs.x?.data[0]
}

it('jobs survive that the relay that works on them sleeps, forgets and has nobody', async () => {
  // Taken by a relay whose memory is lost then, and nobody else is there: all is silent.
  const first = await submit(1)
  const store = redisJobs(upstashRedis(gateway.redis))
  const { jobs: [taken] } = await store.exchange({ outcomes: [], take: { model: 1, function: 0 }, leaseMs: LEASE_MS })
  expect(taken?.id).toBe(first)
  await realTime(SILENCE_MS)
  expect((await client().get(first)).attempts).toBe(1)
  const worker = await joinHeldWorker(gateway.url)
  const joinedAtMs = performance.now()
  expect(await work(worker)).toBe(1)
  const againMs = performance.now() - joinedAtMs
  expect(markOf(await client().wait(first))).toBe(1)
  const { attempts, failures } = await client().get(first)
  expect([attempts, failures]).toEqual([2, 1])
  const late = { id: first, attempt: 1, kind: 'done', result: '{}', hasBlobs: false } as const
  const exchanged = await store.exchange({ outcomes: [late], take: { model: 0, function: 0 }, leaseMs: LEASE_MS })
  expect(exchanged.accepted).toEqual([false])

  // The relay sleeps, its worker connected: a job wakes it.
  await realTime(SILENCE_MS)
  const second = await submit(2)
  expect(await work(worker)).toBe(2)
  expect(markOf(await client().wait(second))).toBe(2)

  report('19 job across DO silence', 'survives', {
    'silence before a worker came (s)': SILENCE_MS / 1000,
    'silence before a job woke it (s)': SILENCE_MS / 1000,
    'given out again after the worker came (s)': Number((againMs / 1000).toFixed(1)),
    'late results accepted': 0,
    lost: 0,
  })
}, 180_000)
