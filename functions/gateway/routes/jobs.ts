import { type Context, Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import { LIMITS } from '../../../shared/base/limits.ts'
import { watchJob } from '../../../shared/jobs/job_watch.ts'
import { CONTENT_TYPES } from '../../../shared/rpc/http.ts'
import { withStatus } from '../../../shared/rpc/http_error.ts'
import { continueTrace } from '../../../shared/rpc/trace.ts'
import { jobId } from '../../../shared/stores/job_store.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'
import type { GatewayDeps } from '../deps.ts'
import type { CallerVariables } from '../guard.ts'
import { pings } from '../pings.ts'
import { readSubmission } from './jobs_read.ts'
import { toProblem } from './problem.ts'

/** Jobs: calls that are kept until someone can do them. Each caller sees those that came with the same key alone. */
export function jobs(deps: GatewayDeps): Hono<CallerVariables> {
  const app = new Hono<CallerVariables>()
  const { desk } = deps.jobs
  const ownerOf = (context: Context<CallerVariables>) => context.var.caller ?? ''
  let watchers = 0

  app.post('/', async (context) => {
    const { orders, isBatch, key } = await readSubmission(context.req.raw)
    const owner = ownerOf(context)
    const traceparent = continueTrace(context.req.header('traceparent'))
    const { id, count, replayed } = await desk.submit(owner, orders, traceparent, key).catch((thrown) => {
      throw thrown instanceof RpcError && thrown.code === 'already_exists' ? withStatus(422, thrown) : thrown
    })
    if (replayed) context.header('idempotency-replayed', 'true')
    const status = replayed ? 200 : 202
    if (isBatch) {
      return context.json({ count, ids: Array.from({ length: count }, (_, i) => jobId(id, i, count)) }, status)
    }
    context.header('location', `/jobs/${id}`)
    if (!replayed) return context.json({ id, state: 'queued' }, status)
    return context.json(await desk.view(await desk.find(owner, id), false), status)
  })

  app.get('/', async (context) => {
    const { state, limit = String(LIMITS.maxListedJobs) } = context.req.query()
    if (state !== 'dead') throw invalid(`Cannot list jobs: the query "state" must be dead, got "${state ?? ''}"`)
    if (!/^\d{1,4}$/.test(limit) || Number(limit) < 1 || Number(limit) > LIMITS.maxListedJobs) {
      throw invalid(`Cannot list jobs: limit must be from 1 to ${LIMITS.maxListedJobs}, got "${limit}"`)
    }
    const [dead, counts] = await Promise.all([desk.dead(ownerOf(context), Number(limit)), deps.jobs.store.counts()])
    return context.json({ jobs: await Promise.all(dead.map((job) => desk.view(job, false))), ...counts })
  })

  app.get('/:id', async (context) => {
    const view = await desk.view(await desk.find(ownerOf(context), context.req.param('id')), true)
    const codec = context.req.header('accept')?.includes('msgpack') ? 'msgpack' : 'json'
    const payload = encodePayload(view, codec)
    if (payload.codec !== 'json' && payload.codec !== 'msgpack') throw new RpcError('internal', 'Cannot encode the job')
    return context.body(payload.body, 200, { 'content-type': CONTENT_TYPES[codec] })
  })

  app.delete('/:id', async (context) => {
    const job = await desk.cancel(ownerOf(context), context.req.param('id'))
    return context.json(await desk.view(job, false))
  })

  app.post('/:id/retry', async (context) => {
    const job = await desk.retry(ownerOf(context), context.req.param('id'))
    return context.json(await desk.view(job, false), 202)
  })

  app.get('/:id/events', async (context) => {
    const { id } = context.req.param()
    const find = () => desk.find(ownerOf(context), id)
    await find()
    if (watchers >= LIMITS.maxWatchers) {
      throw new RpcError(
        'resource_exhausted',
        `Cannot watch the job: at most ${LIMITS.maxWatchers} are watched at once`,
        {
          retryAfterMs: 5_000,
        },
      )
    }
    watchers++
    const gone = new AbortController()
    const signal = AbortSignal.any([gone.signal, context.req.raw.signal, deps.jobs.ended])
    return streamSSE(context, async (stream) => {
      stream.onAbort(() => gone.abort())
      const stopPings = pings(stream, deps.clock)
      try {
        for await (const { event, job } of watchJob(id, { find, feed: deps.jobs.feed, clock: deps.clock }, signal)) {
          await stream.writeSSE({ event, data: JSON.stringify(await desk.view(job, false)) })
        }
      } finally {
        stopPings()
        watchers--
      }
      // Forgotten, or the store is away: the line ends, and whoever wants to know asks again.
    }, async () => {})
  })

  app.onError((thrown) => toProblem(thrown))
  return app
}
