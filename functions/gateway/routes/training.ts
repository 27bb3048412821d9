import { Hono } from 'hono'
import { sha256Hex } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { Training } from '../../../shared/contracts/training.ts'
import { readBody, toResponse } from '../../../shared/rpc/http.ts'
import { answerHttp } from '../../../shared/rpc/http_server.ts'
import { decodeJson } from '../../../shared/wire/codec.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import { RunBoard } from '../run_board.ts'
import { toProblem } from './problem.ts'

/**
 * What a coordinator needs of a gateway: `PUT /blobs/{sha256}` for graphs, plans and data,
 * `/checkpoints/{run}/{name}` where coordinators on several machines share a run, `PUT /training/{run}` to show how it goes, and
 * `POST /relays/{relay}/rpc/shoal.Training/{method}`, a call to one relay and no other. Bodies pass undecoded.
 */
export function training(deps: GatewayDeps): Hono {
  const app = new Hono()

  app.put('/blobs/:sha256', async (context) => {
    const { sha256 } = context.req.param()
    const bytes = await readBody(context.req.raw, LIMITS.maxModelBytes)
    const actual = await sha256Hex(bytes)
    if (actual !== sha256) throw invalid(`Cannot store the blob: its SHA-256 must be ${sha256}, got ${actual}`)
    const isNew = await deps.blobs.putIfAbsent(`blobs/${sha256}`, bytes)
    return context.json({ sha256, bytes: bytes.byteLength }, isNew ? 201 : 200)
  })

  app.put('/checkpoints/:run/:name', async (context) => {
    const bytes = await readBody(context.req.raw, LIMITS.maxCheckpointBytes)
    await deps.blobs.put(checkpointKey(context.req.param()), bytes)
    return context.json({ bytes: bytes.byteLength }, 201)
  })

  app.get('/checkpoints/:run/:name', async (context) => {
    const { run, name } = context.req.param()
    const found = await deps.blobs.open(checkpointKey({ run, name }))
    if (!found) {
      throw new RpcError('not_found', `Cannot read checkpoint ${name} of run "${run}": it must be stored, got none`)
    }
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(found.size) }
    return context.body(found.stream, 200, headers)
  })

  app.delete('/checkpoints/:run/:name', async (context) => {
    await deps.blobs.delete(checkpointKey(context.req.param()))
    return context.body(null, 204)
  })

  const board = new RunBoard(deps.clock)
  app.put('/training/:run', async (context) => {
    board.report(context.req.param('run'), decodeJson(await readBody(context.req.raw, LIMITS.maxControlBytes)))
    return context.body(null, 204)
  })

  app.get('/training', (context) => context.json({ runs: board.runs() }))

  // A gateway with a process to itself has room for a large model's parameters; a Worker of 128 MB has not.
  const maxMessageBytes = deps.watch ? LIMITS.maxTrainingBytes : LIMITS.maxMessageBytes
  app.post('/relays/:relay/rpc/:service/:method', async (context) => {
    const { relay, service, method } = context.req.param()
    if (service !== Training.name) {
      throw new RpcError('not_found', `Cannot call ${service} on a relay: only ${Training.name} is served there`)
    }
    const pool = (await deps.pools()).find(({ instance }) => instance.id === relay)
    const send = pool?.send ?? (() => {
      throw new RpcError('unavailable', `Cannot call relay ${relay}: it is not registered, or has no workers`)
    })
    return toResponse(await answerHttp(send, context.req.raw, service, method, { clock: deps.clock, maxMessageBytes }))
  })

  app.onError((thrown) => toProblem(thrown))
  return app
}

/** Apart from all other blobs: whoever may write checkpoints must not replace a model. */
function checkpointKey({ run, name }: { run: string; name: string }): string {
  return `checkpoints/${run}/${name}`
}
