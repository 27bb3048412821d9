import type { Clock } from '../../shared/base/clock.ts'
import { Inference } from '../../shared/contracts/inference.ts'
import { isInternal } from '../../shared/contracts/internal.ts'
import type { HttpAnswer } from '../../shared/rpc/http.ts'
import { answerHttp, type HttpRequest } from '../../shared/rpc/http_server.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { GatewayDeps } from './deps.ts'
import { inferenceService } from './inference_service.ts'

/** Who answers `POST /rpc/{service}/{method}` for callers who were let in, whatever form their requests have. */
export interface RpcServing {
  clock: Clock
  /** The way to a service. */
  choose(service: string): Send
  /** Hears of each answer: its code ('ok' or an error's), the failure behind an `internal` one, and when its call came. */
  onAnswer?(service: string, method: string, startedAtMs: number, code: string, failure: RpcError | undefined): void
}

/** What the gateway does with calls: inference it serves itself, all else goes to an instance that serves it. */
export function createRpcServing(deps: GatewayDeps): RpcServing {
  const { clock, metrics } = deps
  return {
    clock,
    choose: serviceSends(deps),
    onAnswer(service, method, startedAtMs, code, failure) {
      if (code === 'internal') {
        deps.log('error', 'call failed', { service, method, cause: String(failure?.cause ?? failure) })
      }
      const seconds = (clock.now() - startedAtMs) / 1000
      metrics.observeSeconds('rpc_server_call_duration_seconds', seconds, labelsOf(code))
    },
  }
}

/** Answers one call, of any kind. Never rejects. */
export function answerRpc(
  serving: RpcServing,
  request: HttpRequest,
  service: string,
  method: string,
  caller: string | undefined,
): Promise<HttpAnswer> {
  const { clock } = serving
  const startedAtMs = clock.now()
  return answerHttp(serving.choose(service), request, service, method, {
    clock,
    caller,
    onAnswer: (code, failure) => serving.onAnswer?.(service, method, startedAtMs, code, failure),
  })
}

/** The way to a service that a caller names: inference is served here, what is between Shoal's own parts is refused. */
export function serviceSends(deps: Pick<GatewayDeps, 'catalog' | 'infer' | 'route'>) {
  const inference = inferenceService(deps)
  return (service: string): Send => {
    if (service === Inference.name) return inference
    return isInternal(service) ? refuseInternal : deps.route
  }
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
