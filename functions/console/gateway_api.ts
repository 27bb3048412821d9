import * as z from 'zod'
import type { JobView } from '../../shared/contracts/jobs.ts'
import { workerState } from '../../shared/contracts/pool.ts'
import type { ModelOptions } from '../../shared/models/model_options.ts'
import type { LeasedInstance } from '../../shared/stores/lease_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { ModelManifest } from '../../shared/wire/signature.ts'
import type { TrainingRun } from '../gateway/run_board.ts'

const workerList = z.object({
  workers: z.array(workerState.extend({ relay: z.string() })),
  /** Calls that wait, by model hash. */
  queues: z.array(z.object({ model: z.string(), calls: z.number() })),
  /** Pools that did not answer. */
  silent: z.array(z.string()),
})
export type PoolListing = z.infer<typeof workerList>
export type ListedWorker = PoolListing['workers'][number]

export interface ModelListing {
  /** Every version of every model, by name, oldest version first. */
  models: ModelManifest[]
  /** Versions by alias, by model. */
  aliases: Record<string, Record<string, string>>
}

export interface ServiceListing {
  service: string
  tableAgeMs: number
  instances: readonly LeasedInstance[]
}

export interface JobListing {
  /** This key's dead jobs, the latest first. */
  jobs: JobView[]
  /** Of all callers. */
  queued: number
  running: number
}

/** The header that presents a key, if there is one. */
export function authorization(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { authorization: `Bearer ${key}` }
}

export async function listWorkers(key: string | undefined): Promise<PoolListing> {
  return workerList.parse(await askGateway('GET', '/workers', key))
}

export async function listModels(key: string | undefined): Promise<ModelListing> {
  return await askGateway('GET', '/models', key) as ModelListing
}

/** What is said of a version from now on. Takes a key of scope "admin". */
export async function amendModel(
  { name, version }: ModelManifest,
  options: ModelOptions,
  key: string | undefined,
): Promise<void> {
  const path = `/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`
  await askGateway('PATCH', path, key, undefined, options)
}

/** Every service with its instances, by name. A service that went meanwhile is left out. */
export async function listServices(key: string | undefined): Promise<ServiceListing[]> {
  const { services } = await askGateway('GET', '/registry/services', key) as { services: string[] }
  const listed = await Promise.all(services.map(async (service) => {
    const path = `/registry/services/${encodeURIComponent(service)}`
    return await askGateway('GET', path, key).catch((thrown) => {
      if (RpcError.from(thrown).code === 'not_found') return undefined
      throw thrown
    }) as ServiceListing | undefined
  }))
  return listed.filter((one) => one !== undefined)
}

export async function listJobs(key: string | undefined): Promise<JobListing> {
  return await askGateway('GET', '/jobs?state=dead&limit=20', key) as JobListing
}

export async function listTraining(key: string | undefined): Promise<TrainingRun[]> {
  return (await askGateway('GET', '/training', key) as { runs: TrainingRun[] }).runs
}

/** The gateway's metrics, in Prometheus's text format. */
export async function readMetrics(key: string | undefined): Promise<string> {
  return await (await ask('GET', '/metrics', key)).text()
}

/** Calls one of the gateway's management routes, of the page's own origin. @throws RpcError in words for a person */
export async function askGateway(
  method: Method,
  path: string,
  key: string | undefined,
  signal?: AbortSignal,
  body?: unknown,
): Promise<unknown> {
  return await (await ask(method, path, key, signal, body)).json()
}

type Method = 'GET' | 'POST' | 'PATCH'

async function ask(
  method: Method,
  path: string,
  key: string | undefined,
  signal?: AbortSignal,
  body?: unknown,
): Promise<Response> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS)
  const response = await fetch(path, {
    method,
    headers: authorization(key),
    cache: 'no-store',
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  }).catch((cause) => {
    throw new RpcError('unavailable', `Cannot reach the gateway: ${location.host} did not answer`, { cause })
  })
  if (!response.ok) throw await readProblem(response)
  return response
}

/** A route that lists or enrols answers within its relays' two seconds, or not at all. */
const TIMEOUT_MS = 10_000

/** Management routes answer with problem details (RFC 9457), the middleware before them with the RPC face's error. */
async function readProblem(response: Response): Promise<RpcError> {
  const json: unknown = await response.json().catch(() => undefined)
  const { title, detail, code, message } = (json ?? {}) as Record<string, unknown>
  if (title === undefined && code === undefined) {
    const { status, statusText } = response
    return new RpcError(RpcError.codeOfStatus(status), `The gateway answered ${status} ${statusText}`.trim())
  }
  return RpcError.fromJson({ code: code ?? title, message: message ?? detail })
}
