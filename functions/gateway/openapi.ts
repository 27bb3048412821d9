import type { Hono } from 'hono'
import * as z from 'zod'
import { Inference } from '../../shared/contracts/inference.ts'
import { JOB_STATES, jobRequest } from '../../shared/contracts/jobs.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { modelOptions } from '../../shared/models/model_options.ts'
import type { Schema } from '../../shared/rpc/contract.ts'
import { jsonSchemaOf } from '../../shared/rpc/json_schema.ts'
import { openApi, type OpenApiDocument } from '../../shared/rpc/openapi.ts'
import { runList, runReport } from './run_board.ts'
import { aliasBody } from './routes/models.ts'
import { inferRequest } from './routes/open_inference_json.ts'
import { instance } from './routes/registry.ts'

/** What is said of a route beside its path. Schemas are those that check what comes in. */
interface Described {
  summary: string
  body?: Schema
  /** Of a body that is no JSON. */
  bodyType?: string
  /** Of a JSON answer; the status is 200, or what stands in `status`. */
  answer?: Schema
  answerType?: string
  status?: number
  query?: readonly string[]
}

const listing = z.object({
  service: z.string(),
  revision: z.number().optional(),
  recent: z.array(z.number()).optional(),
  bornAtMs: z.number().optional(),
  readAtMs: z.number().optional(),
  tableAgeMs: z.number(),
  versions: z.array(z.string()),
  groups: z.array(z.string()),
  instances: z.array(z.looseObject({ id: z.string(), version: z.string(), group: z.string(), ageMs: z.number() })),
})
const job = z.looseObject({ id: z.string(), state: z.enum(JOB_STATES), service: z.string(), method: z.string() })
const lease = z.object({ id: z.string(), ttlMs: z.number() })
const infer: Described = {
  summary: 'Run a model, by the Open Inference Protocol',
  body: inferRequest,
  answer: z.looseObject({ model_name: z.string(), outputs: z.array(z.looseObject({ name: z.string() })) }),
}

const model: Described = {
  summary: 'What a model takes and gives',
  answer: z.looseObject({ name: z.string(), versions: z.array(z.string()) }),
}
const ready: Described = { summary: 'Whether a model can be run', answer: z.looseObject({ ready: z.boolean() }) }

/** By method and path, as the routes have them. A route that is not here is listed with its path alone. */
const DESCRIBED: Readonly<Record<string, Described>> = {
  'GET /livez': { summary: 'Alive', answerType: 'text/plain' },
  'GET /readyz': { summary: 'Ready to route calls', answerType: 'text/plain' },
  'GET /metrics': { summary: 'Metrics for Prometheus', answerType: 'text/plain' },
  'GET /openapi.json': { summary: 'This document', answer: z.looseObject({ openapi: z.string() }) },
  'GET /v2': { summary: 'The server, by the Open Inference Protocol', answer: z.looseObject({ name: z.string() }) },
  'GET /v2/health/live': { summary: 'Alive', answer: z.looseObject({}) },
  'GET /v2/health/ready': { summary: 'Whether any worker is there', answer: z.looseObject({}) },
  'POST /v2/repository/index': { summary: 'Models and whether they are ready', answer: z.array(z.looseObject({})) },
  'GET /v2/models/{model}': model,
  'GET /v2/models/{model}/versions/{version}': model,
  'GET /v2/models/{model}/ready': ready,
  'GET /v2/models/{model}/versions/{version}/ready': ready,
  'POST /v2/models/{model}/infer': infer,
  'POST /v2/models/{model}/versions/{version}/infer': infer,
  'GET /models': { summary: 'Models and aliases', answer: z.looseObject({ models: z.array(z.looseObject({})) }) },
  'PUT /models/{name}/versions/{version}': {
    summary: 'Push a model in ONNX',
    bodyType: 'application/octet-stream',
    answer: z.looseObject({ name: z.string(), version: z.string(), sha256: z.string() }),
  },
  'PATCH /models/{name}/versions/{version}': {
    summary: 'Change what is said of a version',
    body: modelOptions,
    answer: z.looseObject({}),
  },
  'PUT /models/{name}/aliases/{alias}': { summary: 'Name a version', body: aliasBody, answer: z.looseObject({}) },
  'DELETE /models/{name}/aliases/{alias}': { summary: 'Forget a name of a version', status: 204 },
  'DELETE /models/{name}': { summary: 'Delete a model with all its versions', answer: z.looseObject({}) },
  'DELETE /models/{name}/versions/{version}': { summary: 'Delete a version', answer: z.looseObject({}) },
  'PUT /blobs/{sha256}': { summary: 'Store bytes by their hash', bodyType: 'application/octet-stream' },
  'PUT /checkpoints/{run}/{name}': {
    summary: 'Store a checkpoint of a run that machines share',
    bodyType: 'application/octet-stream',
    status: 201,
  },
  'GET /checkpoints/{run}/{name}': { summary: 'A checkpoint', answerType: 'application/octet-stream' },
  'DELETE /checkpoints/{run}/{name}': { summary: 'Remove a checkpoint', status: 204 },
  'POST /relays/{relay}/rpc/{service}/{method}': { summary: 'Call one relay, for training', body: z.looseObject({}) },
  'GET /blobs/{sha256}': { summary: 'The bytes of a model', answerType: 'application/octet-stream' },
  'POST /jobs': {
    summary: 'Keep a call until someone can do it; a list keeps many at once',
    body: z.union([jobRequest, z.array(jobRequest)]),
    answer: z.looseObject({ id: z.string() }),
    status: 202,
  },
  'GET /jobs': {
    summary: 'Jobs that have failed for good; how many of all callers wait, and are being worked on',
    answer: z.object({ jobs: z.array(job), queued: z.number(), running: z.number() }),
    query: ['state'],
  },
  'GET /jobs/{id}': { summary: 'A job and its result', answer: job },
  'DELETE /jobs/{id}': { summary: 'Cancel a job', answer: job },
  'POST /jobs/{id}/retry': { summary: 'Queue a job that is dead again', answer: job },
  'GET /jobs/{id}/events': { summary: 'A job now and after each change', answerType: 'text/event-stream' },
  'GET /operations/report': { summary: 'What this process holds and does', answer: z.looseObject({}) },
  'POST /operations/heap-snapshot': { summary: 'A snapshot of the heap', answerType: 'application/json' },
  'POST /operations/cpu-profile': { summary: 'A profile of the processor', answerType: 'application/json' },
  'GET /training': { summary: 'Training runs that tell this gateway how they go', answer: runList },
  'PUT /training/{run}': { summary: 'Tell how a training run goes', body: runReport, status: 204 },
  'POST /workers/enrol': {
    summary: 'A token for one socket of a worker',
    answer: z.object({ relay: z.string(), token: z.string(), expiresInMs: z.number(), connect: z.string() }),
  },
  'GET /workers': {
    summary: 'Workers that are connected, calls that wait by model, and pools that did not answer',
    answer: Pool.methods.workers.output.omit({ relay: true }).extend({ silent: z.array(z.string()) }),
  },
  'GET /relay/connect': { summary: 'The socket of a worker, with subprotocol shoal.v1', status: 101, query: ['relay'] },
  'POST /registry/instances': { summary: 'Register an instance', body: instance, answer: lease, status: 201 },
  'PUT /registry/instances/{id}/lease': { summary: 'Renew a lease', body: instance, answer: lease },
  'DELETE /registry/instances/{id}': {
    summary: 'Leave the registry',
    status: 204,
    query: ['service', 'incarnation'],
  },
  'GET /registry/services': {
    summary: 'What is registered',
    answer: z.looseObject({ services: z.array(z.string()) }),
  },
  'GET /registry/services/{service}': { summary: 'The instances of a service', answer: listing },
  'GET /registry/services/{service}/events': {
    summary: 'The instances of a service now and after each change',
    answerType: 'text/event-stream',
  },
}

/** Pages and what belongs to them, and calls, which the contracts describe. */
const NOT_LISTED = /^(\/$|\/join|\/assets|\/rpc)/

/** The gateway's own document: the service that callers see, and every route that `app` has. */
export function gatewayDocument(app: Hono): OpenApiDocument {
  const document = openApi([Inference], {
    title: 'Shoal gateway',
    version: '1.0.0',
    description:
      'Functions that are registered here are called at /rpc/{service}/{method}; `shoal openapi` describes them.',
  })
  document.components.securitySchemes = { key: { type: 'http', scheme: 'bearer', description: 'An API key' } }
  for (const { method, path } of app.routes) {
    const isListed = /^(GET|PUT|POST|PATCH|DELETE)$/.test(method) && !NOT_LISTED.test(path) && !path.includes('*')
    if (isListed) describe(document, method, path.replace(/:(\w+)/g, '{$1}').replace(/(.)\/$/, '$1'))
  }
  return document
}

function describe(document: OpenApiDocument, method: string, path: string): void {
  const found = DESCRIBED[`${method} ${path}`]
  const operationId = `${method.toLowerCase()}${
    path.replace(/[{}]/g, '').replace(/[/.](\w?)/g, (_, c) => c.toUpperCase())
  }`
  const tag = path.split('/')[1] ?? ''
  if (!document.tags.some(({ name }) => name === tag)) document.tags.push({ name: tag })
  const place = (side: string, schema: Schema, io: 'input' | 'output') => {
    const key = `${operationId}.${side}`
    const pointer = `#/components/schemas/${key}`
    document.components.schemas[key] = jsonSchemaOf(schema, io, pointer)
    return { schema: { $ref: pointer } }
  }
  const { body, bodyType, answer, answerType, status = 200, query = [], summary } = found ??
    {} as Partial<Described>
  const bodyContent = body ? { 'application/json': place('Input', body, 'input') } : bodyType && { [bodyType]: {} }
  const content = answer
    ? { 'application/json': place('Output', answer, 'output') }
    : answerType && { [answerType]: {} }
  const inPath = [...path.matchAll(/{(\w+)}/g)].map(([, name]) => parameter(name, 'path'))
  const parameters = [...inPath, ...query.map((name) => parameter(name, 'query'))]
  document.paths[path] = {
    ...document.paths[path],
    [method.toLowerCase()]: {
      operationId,
      tags: [tag],
      ...(summary && { summary }),
      ...(parameters.length > 0 && { parameters }),
      ...(bodyContent && { requestBody: { required: true as const, content: bodyContent } }),
      responses: {
        [status]: { description: 'Done', ...(content && { content }) },
        default: { description: 'It failed: a problem (RFC 9457), or {"error"} below /v2' },
      },
      security: [{ key: [] }],
    },
  }
}

function parameter(name: string | undefined, place: 'path' | 'query') {
  return { name, in: place, required: true, schema: { type: 'string' } }
}
