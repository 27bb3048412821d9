import { encodeUtf8, sha256Hex } from '../base/bytes.ts'
import type { Metrics } from '../base/metrics.ts'
import { newId } from '../base/random.ts'
import { Inference } from '../contracts/inference.ts'
import type { JobView } from '../contracts/jobs.ts'
import type { BlobStore } from '../models/blob_store.ts'
import {
  jobId,
  type JobPriority,
  type JobState,
  type JobStore,
  type Lane,
  type NewJob,
  type Submitted,
} from '../stores/job_store.ts'
import { decodePayload } from '../wire/payload.ts'
import { RpcError } from '../wire/errors.ts'
import { blobPrefix, type JobTask, keep, type Kept, type Message, recall, removeBlobs } from './job_task.ts'

/** A job as it is handed in: a call, and how it is to be treated. */
export interface JobOrder {
  service: string
  method: string
  version: string
  group: string
  params: Message
  priority: JobPriority
  maxAttempts: number
  timeoutMs: number
  ttlMs: number
  keepMs: number
}

export interface DeskDeps {
  store: JobStore
  blobs: BlobStore
  metrics: Metrics
  /** There are new jobs. Not awaited, and must not throw. */
  onSubmitted(lanes: ReadonlySet<Lane>): void
  /** A job is no longer wanted; someone may be working on it. */
  onCanceled(id: string): void
}

/** Where callers hand jobs in and ask for them. Each sees their own alone. */
export class JobDesk {
  readonly #deps: DeskDeps

  constructor(deps: DeskDeps) {
    this.#deps = deps
  }

  /**
   * Queues all of the orders or none.
   * @param key an idempotency key and a digest of what came under it
   * @throws RpcError as JobStore.submit; `unavailable` also where the blob store cannot take a long payload
   */
  async submit(
    owner: string,
    orders: readonly JobOrder[],
    traceparent: string,
    key?: { name: string; fingerprint: string },
  ): Promise<Submitted> {
    const { store, metrics } = this.#deps
    const id = newId('job')
    const jobs: NewJob[] = []
    try {
      for (const [i, order] of orders.entries()) {
        jobs.push(await this.#toJob(jobId(id, i, orders.length), order, traceparent))
      }
      const named = key && { name: await sha256Hex(encodeUtf8(`${owner}\n${key.name}`)), fingerprint: key.fingerprint }
      const submitted = await store.submit({ id, owner, jobs, key: named })
      if (submitted.replayed) await this.#discard(id, jobs, orders.length)
      else {
        metrics.count('shoal_jobs_submitted_total', undefined, jobs.length)
        this.#deps.onSubmitted(new Set(jobs.map(({ lane }) => lane)))
      }
      return submitted
    } catch (thrown) {
      // If it is not known whether the jobs were queued, their payloads stay: they must not be without.
      if (RpcError.from(thrown).code !== 'unavailable') await this.#discard(id, jobs, orders.length)
      throw thrown
    }
  }

  /** @throws RpcError `not_found` if there is no such job, or it is another's */
  async find(owner: string, id: string): Promise<JobState> {
    const [job] = await this.#deps.store.read([id])
    if (job && job.owner === owner) return job
    throw new RpcError('not_found', `Cannot find job ${id}: there is none of that id, or it was forgotten`)
  }

  /** A job as callers see it. @param withResult its result too, if it has one */
  async view(job: JobState, withResult: boolean): Promise<JobView> {
    const { id, state, priority, failures, maxAttempts, submittedAtMs, startedAtMs, finishedAtMs, endsAtMs } = job
    const { service, method } = JSON.parse(job.task) as JobTask
    const view: JobView = {
      id,
      state,
      service,
      method,
      priority,
      attempts: job.attempt,
      failures,
      maxAttempts,
      submittedAtMs,
      ...(startedAtMs !== undefined && { startedAtMs }),
      ...(finishedAtMs !== undefined && { finishedAtMs }),
      endsAtMs,
    }
    if (job.reason !== undefined && state !== 'done') view.error = JSON.parse(job.reason)
    if (withResult && state === 'done' && job.result !== undefined) {
      view.result = decodePayload(await recall(JSON.parse(job.result) as Kept, this.#deps.blobs))
    }
    return view
  }

  /** @returns the job as it is then: one that was over already stays what it was */
  async cancel(owner: string, id: string): Promise<JobState> {
    await this.find(owner, id)
    if (await this.#deps.store.cancel(id)) {
      this.#deps.metrics.count('shoal_jobs_canceled_total')
      this.#deps.onCanceled(id)
    }
    return await this.find(owner, id)
  }

  /** Queues a dead job again. @throws RpcError `failed_precondition` if it is not dead */
  async retry(owner: string, id: string): Promise<JobState> {
    const { state, task } = await this.find(owner, id)
    if (!await this.#deps.store.retry(id)) {
      throw new RpcError('failed_precondition', `Cannot retry job ${id}: it must be dead, got ${state}`)
    }
    this.#deps.onSubmitted(new Set([laneOf((JSON.parse(task) as JobTask).service)]))
    return await this.find(owner, id)
  }

  /** The latest of an owner's dead jobs. */
  async dead(owner: string, limit: number): Promise<JobState[]> {
    const jobs = await this.#deps.store.read(await this.#deps.store.dead(owner, limit))
    return jobs.filter((job) => job?.state === 'dead') as JobState[]
  }

  async #toJob(id: string, order: JobOrder, traceparent: string): Promise<NewJob> {
    const { service, method, version, group, timeoutMs, priority, maxAttempts, ttlMs, keepMs } = order
    const params = await keep(order.params, this.#deps.blobs, `${blobPrefix(id)}params`)
    const task: JobTask = { service, method, version, group, timeoutMs, traceparent, params }
    return {
      lane: laneOf(service),
      priority,
      task: JSON.stringify(task),
      maxAttempts,
      ttlMs,
      keepMs,
      hasBlobs: 'blob' in params,
    }
  }

  /** Removes the blobs of jobs that were not queued. What cannot be removed is litter, and no reason to fail. */
  async #discard(id: string, jobs: readonly NewJob[], count: number): Promise<void> {
    for (const [i, { hasBlobs }] of jobs.entries()) {
      if (hasBlobs) await removeBlobs(jobId(id, i, count), this.#deps.blobs).catch(() => {})
    }
  }
}

function laneOf(service: string): Lane {
  return service === Inference.name ? 'model' : 'function'
}
