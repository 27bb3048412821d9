import { Inference } from '../../shared/contracts/inference.ts'
import { isInternal } from '../../shared/contracts/internal.ts'
import type { HttpAnswer } from '../../shared/rpc/http.ts'
import { answerHttp, type HttpRequest } from '../../shared/rpc/http_server.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { GatewayDeps } from './deps.ts'
import { CALLER, inferenceService } from './inference_service.ts'

/**
 * Answers `POST /rpc/{service}/{method}` for a caller who was let in. Never rejects.
 * @param caller the id of its key, where keys are asked for
 */
export type RpcAnswer = (
  request: HttpRequest,
  service: string,
  method: string,
  caller: string | undefined,
) => Promise<HttpAnswer>

/** What the gateway does with a call: inference it serves itself, all else goes to an instance that serves it. */
export function createRpcAnswer(deps: GatewayDeps): RpcAnswer {
  const choose = serviceSends(deps)
  return (request, service, method, caller) => {
    const startedAtMs = deps.clock.now()
    return answerHttp(choose(service, caller), request, service, method, {
      clock: deps.clock,
      caller,
      onAnswer(code, failure) {
        if (code === 'internal') {
          deps.log('error', 'call failed', { service, method, cause: String(failure?.cause ?? failure) })
        }
        const seconds = (deps.clock.now() - startedAtMs) / 1000
        deps.metrics.observeSeconds('rpc_server_call_duration_seconds', seconds, labelsOf(code))
      },
    })
  }
}

/**
 * The way to a service that a caller names: inference is served here, what is between Shoal's own parts is refused.
 * @param caller the id of its key, where keys are asked for
 */
export function serviceSends(deps: Pick<GatewayDeps, 'catalog' | 'infer' | 'route'>) {
  const inference = inferenceService(deps)
  return (service: string, caller: string | undefined): Send => {
    if (service === Inference.name) return caller === undefined ? inference : as(caller, inference)
    return isInternal(service) ? refuseInternal : deps.route
  }
}

/** Says whose call it is. HTTP's own headers cannot: of those only x- become metadata. */
function as(caller: string, send: Send): Send {
  return (request) => send({ ...request, metadata: { ...request.metadata, [CALLER]: caller } })
}

const refuseInternal: Send = ({ service }) =>
  Promise.reject(
    new RpcError('permission_denied', `Cannot call ${service}: it is between Shoal's own parts, use ${Inference.name}`),
  )

/** One object for each code: metrics remember what its labels read like. */
const LABELS = new Map<string, { face: string; code: string }>()

function labelsOf(code: string) {
  let labels = LABELS.get(code)
  if (!labels) LABELS.set(code, labels = { face: 'rpc', code })
  return labels
}
