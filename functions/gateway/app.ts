import { Hono, type MiddlewareHandler } from 'hono'
import type { OpenApiDocument } from '../../shared/rpc/openapi.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { GatewayDeps } from './deps.ts'
import { guardAll, requireSameOrigin, requireScope, requireWorker } from './guard.ts'
import { createRpcServing, type RpcServing } from './rpc_answer.ts'
import { gatewayDocument } from './openapi.ts'
import { pages } from './routes/pages.ts'
import { toErrorOf } from './routes/problem.ts'
import { rpc } from './routes/rpc.ts'
import { openInference } from './routes/open_inference.ts'
import { jobs } from './routes/jobs.ts'
import { models } from './routes/models.ts'
import { operations } from './routes/operations.ts'
import { registry } from './routes/registry.ts'
import { training } from './routes/training.ts'
import { workers } from './routes/workers.ts'

/** Every route and middleware of the gateway, in the order a request meets them. */
export function createGateway(deps: GatewayDeps, serving: RpcServing = createRpcServing(deps)): Hono {
  const app = new Hono()
  let document: OpenApiDocument | undefined
  const scope = (name: Parameters<typeof requireScope>[1]) => requireScope(deps.guard, name)

  app.use(guardAll(deps.guard))
  app.use(closeUnsentBodies)

  app.use('/rpc/*', scope('call'))
  app.route('/rpc', rpc(serving))

  app.use('/v2/models/*', scope('call'))
  app.use('/v2/repository/*', scope('call'))
  app.route('/v2', openInference(deps))

  app.use('/jobs/*', scope('call'))
  app.route('/jobs', jobs(deps))

  app.on(['PUT', 'PATCH', 'DELETE'], '/models/*', scope('admin'))
  app.get('/models', scope('call'))
  app.get('/blobs/*', requireWorker(deps.guard))
  app.route('/', models(deps))

  app.put('/blobs/*', scope('admin'))
  app.use('/relays/*', scope('admin'))
  app.use('/checkpoints/*', scope('admin'))
  app.put('/training/*', scope('admin'))
  app.get('/training', scope('call'))
  app.route('/', training(deps))

  app.post('/workers/enrol', requireWorker(deps.guard))
  app.get('/workers', scope('call'))
  app.get('/relay/connect', async (context, next) => {
    requireSameOrigin(context)
    await next()
  })
  app.route('/', workers(deps))

  app.get('/registry/*', scope('call'))
  app.on(['POST', 'PUT', 'DELETE'], '/registry/*', scope('service'))
  app.route('/registry', registry(deps))

  app.get('/metrics', scope('call'))
  app.use('/operations/*', scope('admin'))
  app.route('/', operations(deps))
  app.get('/openapi.json', (context) => context.json(document ??= gatewayDocument(app)))
  app.route('/', pages(deps))

  app.notFound(({ req }) =>
    toErrorOf(req.path, new RpcError('not_found', `Cannot find ${req.method} ${req.path}: no such route`))
  )
  app.onError((thrown, { req }) => toErrorOf(req.path, thrown))
  return app
}

/** HEAD is answered by GET's handlers and without their body, which may hold a file open. */
const closeUnsentBodies: MiddlewareHandler = async (context, next) => {
  await next()
  if (context.req.method === 'HEAD') await context.res.body?.cancel()
}
