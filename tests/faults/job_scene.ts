import { createServer } from 'node:http'
import { join } from 'node:path'
import process from 'node:process'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { newId } from '../../shared/base/random.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { JobDesk } from '../../shared/jobs/job_desk.ts'
import type { BlobStore } from '../../shared/models/blob_store.ts'
import { newTrace } from '../../shared/rpc/trace.ts'
import type { JobState, JobStore } from '../../shared/stores/job_store.ts'
import { redisJobs } from '../../shared/stores/redis_jobs.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { encodeJson } from '../../shared/wire/codec.ts'
import { ROOT, type Running, startProcess } from '../fixtures/process.ts'

/** Short, so that a consumer that vanished is found out soon; prolonged four times as often. */
export const JOB_LEASE_MS = 1_000

/** For jobs that are short. */
export const noBlobs: BlobStore = {
  put: () => Promise.reject(new Error('Cannot keep a blob: no job here is so long')),
  putIfAbsent: () => Promise.reject(new Error('Cannot keep a blob: no job here is so long')),
  open: async () => undefined,
  list: async () => [],
  delete: async () => {},
}

/** A queue on a real Redis, consumers in processes of their own, and something that they have an effect on. */
export class JobScene implements AsyncDisposable {
  readonly store: JobStore
  readonly desk: JobDesk
  /** Deliveries of each job: how often it was asked to have its effect. */
  readonly deliveries = new Map<string, number>()
  /** What each job had for an effect: one at most, since it is made under the job's id. */
  readonly effects = new Map<string, string>()
  /** Answers wait for it. */
  gate: Promise<void> = Promise.resolve()
  readonly #prefix = newId('jobs')
  readonly #redis: LocalRedis
  readonly #client
  readonly #server
  readonly #workers: Running[] = []

  private constructor(redis: LocalRedis) {
    this.#redis = redis
    this.#client = tcpRedis(redis.url)
    this.store = redisJobs(this.#client, { prefix: this.#prefix })
    const nothing = { onSubmitted() {}, onCanceled() {} }
    this.desk = new JobDesk({ store: this.store, blobs: noBlobs, metrics: new Metrics(), ...nothing })
    this.#server = createServer(async (request, response) => {
      const id = String(request.headers['x-idempotency-key'])
      this.deliveries.set(id, (this.deliveries.get(id) ?? 0) + 1)
      if (!this.effects.has(id)) this.effects.set(id, newId('effect'))
      await this.gate
      response.end(JSON.stringify({ effect: this.effects.get(id) }))
    })
  }

  static async open(): Promise<JobScene> {
    const scene = new JobScene(await startRedisServer({ args: ['--appendonly', 'yes'] }))
    await new Promise<void>((resolve) => scene.#server.listen(0, '127.0.0.1', resolve))
    return scene
  }

  /** Starts a consumer. */
  async worker(): Promise<Running> {
    const address = this.#server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const program = join(ROOT, 'tests/faults/job_worker.ts')
    const args = [program, this.#redis.url, this.#prefix, `http://127.0.0.1:${port}`, String(JOB_LEASE_MS)]
    const worker = startProcess(process.execPath, args)
    this.#workers.push(worker)
    await worker.wrote(/worker ready/)
    return worker
  }

  /** @returns the id of a job that calls `method` */
  async submit(method: string, key?: string): Promise<string> {
    const { id } = await this.desk.submit(
      'us',
      [{
        service: 'scene.Effect',
        method,
        version: '',
        group: 'default',
        params: { codec: 'json', body: encodeJson({}) },
        priority: 'normal',
        maxAttempts: 3,
        timeoutMs: 60_000,
        ttlMs: 600_000,
        keepMs: 600_000,
      }],
      newTrace(),
      key === undefined ? undefined : { name: key, fingerprint: method },
    )
    return id
  }

  async state(id: string): Promise<JobState> {
    return await this.desk.find('us', id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#workers) worker.signal('SIGKILL')
    await Promise.all(this.#workers.map(({ ended }) => ended))
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    await this.#client.quit()
    await this.#redis.close()
  }
}

/** Outcomes that a consumer brought, and whether they were accepted. */
export function settledBy(worker: Running): { id: string; attempt: number; accepted: boolean }[] {
  return [...worker.output().matchAll(/^settled (\S+) (\d+) (true|false)$/gm)].map(([, id = '', attempt, accepted]) => {
    return { id, attempt: Number(attempt), accepted: accepted === 'true' }
  })
}
