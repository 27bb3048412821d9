import { Hono } from 'hono'
import { answerOfError, toResponse } from '../../../shared/rpc/http.ts'
import { withStatus } from '../../../shared/rpc/http_error.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { CallerVariables } from '../guard.ts'
import { answerRpc, type RpcServing } from '../rpc_answer.ts'

/** `POST /rpc/{service}/{method}`: Connect's unary conventions, in JSON or msgpack. */
export function rpc(serving: RpcServing): Hono<CallerVariables> {
  const app = new Hono<CallerVariables>()

  app.post('/:service/:method', async (context) => {
    const { service, method } = context.req.param()
    return toResponse(await answerRpc(serving, context.req.raw, service, method, context.get('caller')))
  })

  app.all('/:service/:method', () => {
    const error = withStatus(405, new RpcError('unimplemented', 'Cannot call: the HTTP method must be POST'))
    const { headers, ...rest } = answerOfError(error)
    return toResponse({ ...rest, headers: { ...headers, allow: 'POST' } })
  })
  return app
}
