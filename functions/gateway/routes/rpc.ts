import { Hono } from 'hono'
import { Inference } from '../../../shared/contracts/inference.ts'
import { Deadline } from '../../../shared/rpc/deadline.ts'
import { type HttpCodec, readHttpRequest, toHttpError, toHttpResponse } from '../../../shared/rpc/http.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import { inferenceService } from '../inference.ts'

/** `POST /rpc/{service}/{method}`: Connect's unary conventions, in JSON or msgpack. The one catch of this path is here. */
export function rpc(deps: GatewayDeps): Hono {
  const app = new Hono()
  const inference = inferenceService(deps.infer)

  app.post('/:service/:method', async (context) => {
    const { service, method } = context.req.param()
    const startedAtMs = deps.clock.now()
    let code = 'ok'
    try {
      const request = await readHttpRequest(context.req.raw, service, method)
      using deadline = new Deadline(deps.clock, request.timeoutMs, context.req.raw.signal)
      const send = service === Inference.name ? inference : deps.route
      const response = await send({ ...request, signal: deadline.signal })
      if (response.kind !== 'unary') {
        throw new RpcError('unimplemented', `Cannot stream ${service}/${method} over plain HTTP`)
      }
      return toHttpResponse(response, request.payload.codec as HttpCodec)
    } catch (thrown) {
      const error = RpcError.from(thrown)
      code = error.code
      if (code === 'internal') {
        deps.log('error', 'call failed', { service, method, cause: String(error.cause ?? error) })
      }
      return toHttpError(error)
    } finally {
      deps.metrics.observeSeconds('rpc_server_call_duration_seconds', (deps.clock.now() - startedAtMs) / 1000, {
        face: 'rpc',
        code,
      })
    }
  })

  app.all('/:service/:method', () => {
    return toHttpError(
      new RpcError('unimplemented', 'Cannot call: the HTTP method must be POST', { details: [{ status: 405 }] }),
    )
  })
  return app
}
