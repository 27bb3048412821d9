/**
 * A consumer of jobs in a process of its own, with a short lease: each job is a POST to the address given. Arguments: URL
 * of Redis, prefix of the queue, address, lease in ms. Each outcome goes to stdout as `settled ID ATTEMPT true|false`, and
 * each job that was no longer its own as `lost ID ATTEMPT`. A job of the method `poison` takes it down.
 */
import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { jsonLog } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { JobConsumer } from '../../shared/jobs/job_consumer.ts'
import { redisJobs } from '../../shared/stores/redis_jobs.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { noBlobs } from './job_scene.ts'

const [url = '', prefix = '', address = '', lease = ''] = process.argv.slice(2)
const store = redisJobs(tcpRedis(url), { prefix })

const consumer = new JobConsumer({
  store: {
    ...store,
    async exchange(request) {
      const exchanged = await store.exchange(request)
      for (const [i, { id, attempt }] of request.outcomes.entries()) {
        console.log(`settled ${id} ${attempt} ${exchanged.accepted[i]}`)
      }
      return exchanged
    },
    async extend(claims, leaseMs) {
      const held = await store.extend(claims, leaseMs)
      for (const [i, { id, attempt }] of claims.entries()) if (!held[i]) console.log(`lost ${id} ${attempt}`)
      return held
    },
  },
  blobs: noBlobs,
  clock: systemClock,
  random: Math.random,
  metrics: new Metrics(),
  log: jsonLog('error'),
  leaseMs: Number(lease),
  beatMs: Number(lease) / 4,
  capacity: () => ({ model: 0, function: 8 }),
  async send({ method, metadata }) {
    if (method === 'poison') process.kill(process.pid, 'SIGKILL')
    const answer = await fetch(`${address}/${method}`, { method: 'POST', headers: metadata })
    return { kind: 'unary', metadata: {}, payload: { codec: 'json', body: new Uint8Array(await answer.arrayBuffer()) } }
  },
})
await consumer.wake()
console.log('worker ready')
process.on('SIGTERM', async () => {
  await consumer.close()
  process.exit(0)
})
