/**
 * Hands jobs in, does them and reads what came of each, on Shoal's queue or on BullMQ's, in one process as a gateway is.
 * Arguments: side, URL of Redis, jobs, jobs of one submission. Prints what it took as JSON.
 */
import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { newId } from '../../shared/base/random.ts'
import { JobConsumer } from '../../shared/jobs/job_consumer.ts'
import { JobDesk, type JobOrder } from '../../shared/jobs/job_desk.ts'
import type { BlobStore } from '../../shared/models/blob_store.ts'
import { newTrace } from '../../shared/rpc/trace.ts'
import { jobId } from '../../shared/stores/job_store.ts'
import { redisJobs } from '../../shared/stores/redis_jobs.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { encodeJson } from '../../shared/wire/codec.ts'

/** Jobs under way at once, submissions at once, and reads at once. */
export const CONCURRENCY = { jobs: 32, submissions: 8, reads: 64 }

/** A hundred bytes in, a hundred bytes out. */
const PARAMS = { text: 'x'.repeat(100) }

interface Side {
  submit(count: number): Promise<string[]>
  /** The result of a job that is done; undefined of any other. */
  resultOf(id: string): Promise<unknown>
  /** Resolves when so many jobs have been settled. */
  settled(count: number): Promise<void>
  /** How often each job was done. */
  effects: ReadonlyMap<string, number>
  close(): Promise<void>
}

export interface SideFigures {
  jobsPerSecond: number
  lost: number
  duplicated: number
}

class Effects extends Map<string, number> {
  #settled = 0
  #awaited = Infinity
  #resolve = () => {}

  count(id: string): void {
    this.set(id, (this.get(id) ?? 0) + 1)
  }

  settle(): void {
    if (++this.#settled >= this.#awaited) this.#resolve()
  }

  until(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#awaited = count
      this.#resolve = resolve
      if (this.#settled >= count) resolve()
    })
  }
}

function shoal(url: string): Side {
  const effects = new Effects()
  const redis = tcpRedis(url)
  const store = redisJobs(redis, { prefix: newId('bench') })
  const metrics = new Metrics()
  const begun = new Set<string>()
  const consumer = new JobConsumer({
    store,
    blobs: noBlobs,
    clock: systemClock,
    random: Math.random,
    metrics,
    log: silentLog,
    capacity: () => ({ model: 0, function: CONCURRENCY.jobs }),
    // Told once when it is begun, and once when it is settled.
    onChange: (id) => begun.delete(id) ? effects.settle() : void begun.add(id),
    send: async ({ metadata, payload }) => {
      effects.count(metadata['x-idempotency-key'] ?? '')
      return { kind: 'unary', metadata: {}, payload }
    },
  })
  const desk = new JobDesk({
    store,
    blobs: noBlobs,
    metrics,
    onSubmitted: () => void consumer.wake(),
    onCanceled: () => {},
  })
  const order: JobOrder = {
    service: 'bench.Echo',
    method: 'echo',
    version: '',
    group: 'default',
    params: { codec: 'json', body: encodeJson(PARAMS) },
    priority: 'normal',
    maxAttempts: 5,
    timeoutMs: 60_000,
    ttlMs: 3_600_000,
    keepMs: 3_600_000,
  }
  return {
    effects,
    async submit(count) {
      const { id } = await desk.submit('', Array.from({ length: count }, () => order), newTrace())
      return Array.from({ length: count }, (_, i) => jobId(id, i, count))
    },
    async resultOf(id) {
      const [job] = await store.read([id])
      return job?.result
    },
    settled: (count) => effects.until(count),
    async close() {
      await consumer.close()
      await redis.quit()
    },
  }
}

const noBlobs: BlobStore = {
  put: () => Promise.reject(new Error('No job is so long')),
  putIfAbsent: () => Promise.reject(new Error('No job is so long')),
  open: async () => undefined,
  list: async () => [],
  delete: async () => {},
}

async function bullmq(url: string): Promise<Side> {
  const [{ Job, Queue, Worker }, { Redis }] = await Promise.all([import('bullmq'), import('ioredis')])
  const effects = new Effects()
  const name = newId('bench')
  const options = { attempts: 5, backoff: { type: 'exponential', delay: 1_000 } }
  const [forQueue, forWorker] = [new Redis(url), new Redis(url, { maxRetriesPerRequest: null })]
  const queue = new Queue(name, { connection: forQueue })
  const worker = new Worker(name, async (job) => {
    effects.count(job.id)
    return job.data
  }, { connection: forWorker, concurrency: CONCURRENCY.jobs })
  worker.on('completed', () => effects.settle())
  await worker.waitUntilReady()
  return {
    effects,
    async submit(count) {
      const jobs = Array.from({ length: count }, () => ({ name: 'echo', data: PARAMS, opts: options }))
      const added = count === 1 ? [await queue.add('echo', PARAMS, options)] : await queue.addBulk(jobs)
      return added.map(({ id }) => id)
    },
    resultOf: async (id) => (await Job.fromId(queue, id))?.returnvalue,
    settled: (count) => effects.until(count),
    async close() {
      await worker.close()
      await queue.close()
      forQueue.disconnect()
      forWorker.disconnect()
    },
  }
}

const SIDES: Readonly<Record<string, (url: string) => Side | Promise<Side>>> = { shoal, bullmq }

const [name = '', url = '', jobs = '', perSubmission = ''] = process.argv.slice(2)
const side = await SIDES[name]?.(url)
if (!side) throw new Error(`Cannot run the side: it must be one of ${Object.keys(SIDES).join(', ')}, got "${name}"`)
// Connections are open, and code is warm, before the clock starts.
const warm = await run(side, 1_000, Number(perSubmission), 0)
const figures = await run(side, Number(jobs), Number(perSubmission), 1_000)
console.log(JSON.stringify({ ...figures, lost: figures.lost + warm.lost } satisfies SideFigures))
await side.close()

async function run(side: Side, count: number, perSubmission: number, before: number): Promise<SideFigures> {
  const startedAtMs = performance.now()
  const ids: string[] = []
  await inParallel(CONCURRENCY.submissions, count / perSubmission, async () => {
    ids.push(...await side.submit(perSubmission))
  })
  await side.settled(before + count)
  let lost = count - ids.length
  await inParallel(CONCURRENCY.reads, count, async (i) => {
    if (await side.resultOf(ids[i] ?? '') === undefined) lost++
  })
  const seconds = (performance.now() - startedAtMs) / 1000
  const duplicated = ids.filter((id) => side.effects.get(id) !== 1).length
  return { jobsPerSecond: count / seconds, lost, duplicated }
}

async function inParallel(workers: number, count: number, work: (i: number) => Promise<void>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: workers }, async () => {
    for (let i = next++; i < count; i = next++) await work(i)
  }))
}
