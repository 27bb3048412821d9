import type { StandardSchemaV1 } from '@standard-schema/spec'
import { decodeUtf8, encodeUtf8, readAll } from '../base/bytes.ts'
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import type { JobOptions, JobRequest, JobView } from '../contracts/jobs.ts'
import type { Methods, ServiceContract } from '../rpc/contract.ts'
import { CONTENT_TYPES, type HttpCodec, readHttpError } from '../rpc/http.ts'
import { encodeJson } from '../wire/codec.ts'
import { isErrorCode, RpcError } from '../wire/errors.ts'
import { decodePayload, encodePayload } from '../wire/payload.ts'

export interface JobsOptions {
  /** The gateway's URL. */
  gateway: string
  /** An API key with scope "call"; a gateway on loopback may need none. Jobs are seen with the key they were submitted with. */
  key?: string
  /** `msgpack` by default: tensors travel as they are. `json` for functions that take nothing else. */
  codec?: HttpCodec
  clock?: Clock
}

export interface SubmitOptions {
  /** Submitting again under the same key gives the same job: use one wherever a submission may be repeated. */
  idempotencyKey?: string
  signal?: AbortSignal
}

export type JobNews = { event: JobView['state'] | 'progress'; job: JobView }

/** Calls that are kept at a gateway until someone can do them. */
export interface JobsClient {
  /** Queues one job. @returns its id */
  submit(job: JobRequest, options?: SubmitOptions): Promise<string>
  /** Queues a method's call. @returns the job's id */
  call<M extends Methods, K extends keyof M & string>(
    contract: ServiceContract<M>,
    method: K,
    params: StandardSchemaV1.InferInput<M[K]['input']>,
    options?: SubmitOptions & { job?: JobOptions },
  ): Promise<string>
  /** Queues many jobs, at most LIMITS.maxJobBatch, or none of them. @returns their ids, in order */
  submitAll(jobs: readonly JobRequest[], options?: SubmitOptions): Promise<string[]>
  get(id: string, signal?: AbortSignal): Promise<JobView>
  /**
   * Waits until a job is done.
   * @returns its result
   * @throws RpcError that it died of, or `canceled`
   */
  wait(id: string, signal?: AbortSignal): Promise<unknown>
  /** What happens to a job, from its present state until it is over. Goes on over broken connections. */
  events(id: string, signal?: AbortSignal): AsyncGenerator<JobNews>
  cancel(id: string, signal?: AbortSignal): Promise<JobView>
  /** The latest dead jobs, with what they died of. */
  dead(signal?: AbortSignal): Promise<JobView[]>
  /** Queues a dead job again. */
  retry(id: string, signal?: AbortSignal): Promise<JobView>
}

/** How long to wait before a broken line of events is opened again. */
const REOPEN_MS = 1_000

export function jobs({ gateway, key, codec = 'msgpack', clock = systemClock }: JobsOptions): JobsClient {
  const base = `${gateway.replace(/\/+$/, '')}/jobs`
  const ask = async (method: string, path: string, init: RequestInit = {}): Promise<Response> => {
    const headers = { accept: CONTENT_TYPES[codec], ...(key && { authorization: `Bearer ${key}` }), ...init.headers }
    let response: Response
    try {
      response = await fetch(base + path, { ...init, method, headers, redirect: 'manual' })
    } catch (cause) {
      if (init.signal?.aborted) throw RpcError.from(init.signal.reason)
      throw new RpcError('unavailable', `Cannot reach the gateway: ${gateway} does not answer`, { cause })
    }
    if (!response.ok) throw await readHttpError(response)
    return response
  }
  const at = (id: string) => `/${encodeURIComponent(id)}`
  const view = async (response: Response) => await response.json() as JobView
  const headersOf = (contentType: string, { idempotencyKey }: SubmitOptions) => ({
    'content-type': contentType,
    ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
  })

  const client: JobsClient = {
    async submit(job, options = {}) {
      const payload = encodePayload(job, codec)
      const body = 'body' in payload ? payload.body : undefined
      const headers = headersOf(CONTENT_TYPES[codec], options)
      return (await view(await ask('POST', '', { body, headers, signal: options.signal }))).id
    },
    call: (contract, method, params, { job, ...options } = {}) =>
      client.submit(
        { service: contract.name, method, params, version: `^${contract.version}`, ...(job && { options: job }) },
        options,
      ),
    async submitAll(orders, options = {}) {
      const lines = orders.map((order) => decodeUtf8(encodeJson(order)))
      const headers = headersOf('application/x-ndjson', options)
      const body = encodeUtf8(lines.join('\n'))
      const response = await ask('POST', '', { body, headers, signal: options.signal })
      return (await response.json() as { ids: string[] }).ids
    },
    async get(id, signal) {
      const response = await ask('GET', at(id), { signal })
      const body = response.body && await readAll(response.body, LIMITS.maxMessageBytes + LIMITS.maxControlBytes)
      if (!body) throw new RpcError('internal', 'Cannot read the job: the answer must have a body of bounded size')
      return decodePayload({ codec, body }) as JobView
    },
    async wait(id, signal) {
      for await (const { job } of client.events(id, signal)) if (job.finishedAtMs !== undefined) break
      const { state, result, error } = await client.get(id, signal)
      if (state === 'done') return result
      if (state === 'canceled') throw new RpcError('canceled', `Cannot finish job ${id}: it was canceled`)
      const code = isErrorCode(error?.code) ? error.code : 'unknown'
      throw new RpcError(code, error?.message ?? `Cannot finish job ${id}: it is ${state}`)
    },
    async *events(id, signal) {
      for (;;) {
        try {
          for await (const news of readEvents(await ask('GET', `${at(id)}/events`, { signal }))) {
            yield news
            if (news.job.finishedAtMs !== undefined) return
          }
        } catch (thrown) {
          const error = signal?.aborted ? RpcError.from(signal.reason) : RpcError.from(thrown)
          if (!['unavailable', 'internal', 'resource_exhausted'].includes(error.code)) throw error
        }
        await sleep(clock, REOPEN_MS, signal)
      }
    },
    cancel: async (id, signal) => await view(await ask('DELETE', at(id), { signal })),
    dead: async (signal) => (await (await ask('GET', '?state=dead', { signal })).json() as { jobs: JobView[] }).jobs,
    retry: async (id, signal) => await view(await ask('POST', `${at(id)}/retry`, { signal })),
  }
  return client
}

/** Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html */
async function* readEvents(response: Response): AsyncGenerator<JobNews> {
  if (!response.body) return
  let buffer = ''
  for await (
    const chunk of chunksOf(response.body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>))
  ) {
    buffer += chunk
    const events = buffer.split('\n\n')
    buffer = events.pop() ?? ''
    for (const text of events) {
      const fields = text.split('\n').map((line) => /^(event|data): (.*)$/.exec(line))
      const of = (name: string) => fields.filter((field) => field?.[1] === name).map((field) => field?.[2]).join('\n')
      if (of('data') !== '') yield { event: of('event') as JobNews['event'], job: JSON.parse(of('data')) }
    }
  }
}

/** Cancels the stream when its reader stops early. */
async function* chunksOf(stream: ReadableStream<string>): AsyncGenerator<string> {
  const reader = stream.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}
