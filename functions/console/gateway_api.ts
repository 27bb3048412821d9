import * as z from 'zod'
import { workerState } from '../../shared/contracts/pool.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { ModelManifest } from '../../shared/wire/signature.ts'

const workerList = z.object({ workers: z.array(workerState.extend({ relay: z.string() })) })
export type ListedWorker = z.infer<typeof workerList>['workers'][number]

/** The header that presents a key, if there is one. */
export function authorization(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { authorization: `Bearer ${key}` }
}

export async function listWorkers(key: string | undefined): Promise<ListedWorker[]> {
  return workerList.parse(await askGateway('GET', '/workers', key)).workers
}

/** Every version of every model, by name, oldest version first. */
export async function listModels(key: string | undefined): Promise<ModelManifest[]> {
  const { models } = await askGateway('GET', '/models', key) as { models: ModelManifest[] }
  return models
}

/** Calls one of the gateway's management routes, of the page's own origin. @throws RpcError in words for a person */
export async function askGateway(
  method: 'GET' | 'POST',
  path: string,
  key: string | undefined,
  signal?: AbortSignal,
): Promise<unknown> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS)
  const response = await fetch(path, {
    method,
    headers: authorization(key),
    cache: 'no-store',
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  }).catch((cause) => {
    throw new RpcError('unavailable', `Cannot reach the gateway: ${location.host} did not answer`, { cause })
  })
  if (!response.ok) throw await readProblem(response)
  return await response.json()
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
