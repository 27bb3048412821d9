import { Hono } from 'hono'
import { Inference } from '../../../shared/contracts/inference.ts'
import { toHttpError } from '../../../shared/rpc/http.ts'
import { answerHttp } from '../../../shared/rpc/http_server.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import { inferenceService } from '../inference.ts'

/** `POST /rpc/{service}/{method}`: Connect's unary conventions, in JSON or msgpack. */
export function rpc(deps: GatewayDeps): Hono {
  const app = new Hono()
  const inference = inferenceService(deps.infer)

  app.post('/:service/:method', (context) => {
    const { service, method } = context.req.param()
    const startedAtMs = deps.clock.now()
    const send = service === Inference.name ? inference : deps.route
    return answerHttp(send, context.req.raw, service, method, {
      clock: deps.clock,
      onAnswer(code, failure) {
        if (code === 'internal') {
          deps.log('error', 'call failed', { service, method, cause: String(failure?.cause ?? failure) })
        }
        const seconds = (deps.clock.now() - startedAtMs) / 1000
        deps.metrics.observeSeconds('rpc_server_call_duration_seconds', seconds, labelsOf(code))
      },
    })
  })

  app.all('/:service/:method', () => {
    const error = new RpcError('unimplemented', 'Cannot call: the HTTP method must be POST', {
      details: [{ status: 405 }],
    })
    const response = toHttpError(error)
    response.headers.set('allow', 'POST')
    return response
  })
  return app
}

/** One object for each code: metrics remember what its labels read like. */
const LABELS = new Map<string, { face: string; code: string }>()

function labelsOf(code: string) {
  let labels = LABELS.get(code)
  if (!labels) LABELS.set(code, labels = { face: 'rpc', code })
  return labels
}
