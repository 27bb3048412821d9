import { type Context, Hono } from 'hono'
import { Deadline } from '../../../shared/rpc/deadline.ts'
import { readTimeout } from '../../../shared/rpc/http.ts'
import { continueTrace } from '../../../shared/rpc/trace.ts'
import { decodeJson } from '../../../shared/wire/codec.ts'
import { DTYPES } from '../../../shared/wire/dtype.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { TensorSpec } from '../../../shared/wire/signature.ts'
import type { CallerVariables } from '../guard.ts'
import type { GatewayDeps } from '../deps.ts'
import { findModel } from '../inference.ts'
import { inferResponse, readInferBody } from './open_inference_body.ts'
import { readInferRequest, readRawRequest, writeInferResponse } from './open_inference_json.ts'
import { toInferenceError } from './problem.ts'

/** What is served beside the protocol's required part, by Triton's names. */
const EXTENSIONS = ['binary_tensor_data', 'parameters', 'classification']

/** The Open Inference Protocol, version 2, over HTTP: https://github.com/kserve/open-inference-protocol */
export function openInference(deps: GatewayDeps): Hono {
  const app = new Hono()

  app.get('/', (context) => context.json({ name: 'shoal', version: '0.1.0', extensions: EXTENSIONS }))
  app.get('/health/live', (context) => context.json({ live: true }))
  app.get('/health/ready', async (context) => {
    const ready = (await deps.pools()).length > 0
    return context.json({ ready }, ready ? 200 : 503)
  })

  // Triton's list of models; what it does to them is done by PUT and DELETE /models here.
  app.post('/repository/index', async (context) => {
    const listed = await deps.catalog.list()
    return context.json(listed.map(({ name, version }) => ({ name, version, state: 'READY', reason: '' })))
  })

  for (const path of ['/models/:model', '/models/:model/versions/:version']) {
    app.get(path, async (context) => {
      const { model, version } = params(context)
      const manifest = await findModel(deps.catalog, model, version)
      const versions = (await deps.catalog.list()).filter(({ name }) => name === model).map((one) => one.version)
      return context.json({
        name: manifest.name,
        versions,
        platform: 'onnx_onnxv1',
        inputs: manifest.signature.inputs.map(describe),
        outputs: manifest.signature.outputs.map(describe),
        ...(manifest.labels && { labels: manifest.labels }),
      })
    })
    app.get(`${path}/ready`, async (context) => {
      const { model, version } = params(context)
      const { name } = await findModel(deps.catalog, model, version)
      const ready = (await deps.pools()).length > 0
      return context.json({ name, ready }, ready ? 200 : 503)
    })
    app.post(`${path}/infer`, (context) => infer(deps, context))
  }

  app.onError((thrown) => {
    const error = RpcError.from(thrown)
    if (error.code === 'internal') deps.log('error', 'inference failed', { cause: String(error.cause ?? error) })
    return toInferenceError(error)
  })
  return app
}

async function infer(deps: GatewayDeps, context: Context): Promise<Response> {
  const { model, version } = params(context)
  const { raw } = context.req
  const startedAtMs = deps.clock.now()
  let code = 'ok'
  try {
    const read = await readInferBody(raw)
    const body = read.json
      ? readInferRequest(decodeJson(read.json), read.raw)
      : readRawRequest(await findModel(deps.catalog, model, version), read.raw)
    const timeoutMs = Math.min(readTimeout(raw.headers.get('connect-timeout-ms')), body.timeoutMs ?? Infinity)
    using deadline = new Deadline(deps.clock, timeoutMs, raw.signal)
    const result = await deps.infer({
      model,
      version,
      inputs: body.inputs,
      outputs: body.outputs,
      priority: body.priority,
      caller: (context as Context<CallerVariables>).get('caller'),
      timeoutMs: deadline.remainingMs,
      signal: deadline.signal,
      traceparent: continueTrace(raw.headers.get('traceparent')),
    })
    const { message, parts } = writeInferResponse(result, body)
    return inferResponse(message, parts, result.metadata, raw.headers.get('accept-encoding'))
  } catch (thrown) {
    code = RpcError.from(thrown).code
    throw thrown
  } finally {
    deps.metrics.observeSeconds('rpc_server_call_duration_seconds', (deps.clock.now() - startedAtMs) / 1000, {
      face: 'v2',
      code,
    })
  }
}

function params(context: Context): { model: string; version: string | undefined } {
  const { model = '', version } = context.req.param() as { model?: string; version?: string }
  return { model, version }
}

function describe({ name, dtype, shape }: TensorSpec) {
  return { name, datatype: DTYPES[dtype].oip, shape }
}
