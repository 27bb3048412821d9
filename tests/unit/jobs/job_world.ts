import { FakeClock } from '../../../shared/base/clock.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { type ConsumerDeps, JobConsumer } from '../../../shared/jobs/job_consumer.ts'
import { JobDesk, type JobOrder } from '../../../shared/jobs/job_desk.ts'
import { JobFeed } from '../../../shared/jobs/job_feed.ts'
import type { BlobStore } from '../../../shared/models/blob_store.ts'
import { newTrace } from '../../../shared/rpc/trace.ts'
import { openSqliteJobs } from '../../../shared/stores/sqlite_jobs.ts'
import { encodeJson } from '../../../shared/wire/codec.ts'

/** A desk and a consumer on a queue in memory, with time in the test's hands. */
export function openJobs(deps: Partial<ConsumerDeps> & Pick<ConsumerDeps, 'send'>) {
  const clock = new FakeClock(1_800_000_000_000)
  const random = seededRandom(7)
  const store = openSqliteJobs(':memory:', clock, random)
  const [metrics, feed, blobs] = [new Metrics(), new JobFeed(), memoryBlobs()]
  let exchanges = 0
  const counted = {
    ...store,
    exchange: (...args: Parameters<typeof store.exchange>) => (exchanges++, store.exchange(...args)),
  }
  const consumer = new JobConsumer({
    store: counted,
    blobs,
    clock,
    random,
    metrics,
    log: silentLog,
    capacity: () => ({ model: 0, function: 32 }),
    onChange: (id) => feed.tell(id),
    ...deps,
  })
  const desk = new JobDesk({
    store,
    blobs,
    metrics,
    onSubmitted: () => void consumer.wake(),
    onCanceled: (id) => consumer.drop(id),
  })
  return {
    clock,
    store,
    desk,
    consumer,
    feed,
    blobs,
    metrics,
    exchanges: () => exchanges,
    submit: async (more: Partial<JobOrder> = {}, count = 1) =>
      (await desk.submit('us', Array.from({ length: count }, () => ({ ...ORDER, ...more })), newTrace())).id,
    async close() {
      const closing = consumer.close()
      await clock.advance(1_000)
      await closing
      await store.close()
    },
  }
}

export const ORDER: JobOrder = {
  service: 'demo.Work',
  method: 'work',
  version: '',
  group: 'default',
  params: { codec: 'json', body: encodeJson({ a: 1 }) },
  priority: 'normal',
  maxAttempts: 3,
  timeoutMs: 60_000,
  ttlMs: 3_600_000,
  keepMs: 60_000,
}

export function memoryBlobs(): BlobStore & { keys: Map<string, Uint8Array<ArrayBuffer>> } {
  const keys = new Map<string, Uint8Array<ArrayBuffer>>()
  return {
    keys,
    put: async (key, bytes) => void keys.set(key, new Uint8Array(bytes)),
    async putIfAbsent(key, bytes) {
      if (keys.has(key)) return false
      keys.set(key, new Uint8Array(bytes))
      return true
    },
    async open(key) {
      const bytes = keys.get(key)
      return bytes && { size: bytes.byteLength, stream: new Blob([bytes]).stream() }
    },
    list: async (prefix) => [...keys.keys()].filter((key) => key.startsWith(prefix)).sort(),
    delete: async (key) => void keys.delete(key),
  }
}
