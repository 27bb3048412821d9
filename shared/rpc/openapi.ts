import { LIMITS } from '../base/limits.ts'
import type { Method, ServiceContract } from './contract.ts'
import { noteOf } from './deprecation.ts'
import { CONTENT_TYPES, STREAM_TYPES } from './http.ts'
import { type JsonSchema, jsonSchemaOf } from './json_schema.ts'

/** OpenAPI 3.1.0: https://spec.openapis.org/oas/v3.1.0.html. The parts that are written here. */
export interface OpenApiDocument {
  openapi: '3.1.0'
  info: { title: string; version: string; description?: string }
  servers?: { url: string }[]
  tags: { name: string; description?: string }[]
  paths: Record<string, Record<string, Operation>>
  components: {
    schemas: Record<string, JsonSchema>
    parameters?: Record<string, JsonSchema>
    responses?: Record<string, unknown>
    securitySchemes?: Record<string, unknown>
  }
}

export interface Operation {
  operationId: string
  tags: string[]
  summary?: string
  description?: string
  deprecated?: true
  parameters?: unknown[]
  requestBody?: { required: true; content: Record<string, unknown> }
  responses: Record<string, unknown>
  security?: Record<string, string[]>[]
}

export interface OpenApiOptions {
  title: string
  version: string
  description?: string
  /** Where the services are: a gateway's URL. Where the document is, by default. */
  server?: string
}

/** Describes contracts as they are served over HTTP: `POST /rpc/{service}/{method}`. */
export function openApi(contracts: readonly ServiceContract[], options: OpenApiOptions): OpenApiDocument {
  const { title, version, description, server } = options
  const document: OpenApiDocument = {
    openapi: '3.1.0',
    info: { title, version, ...(description && { description }) },
    ...(server && { servers: [{ url: server }] }),
    tags: [],
    paths: {},
    components: {
      schemas: { Error: ERROR },
      parameters: PARAMETERS,
      responses: {
        Error: {
          description: 'The call failed. The status follows from the code, as Connect has it.',
          headers: { 'retry-after': { description: 'Seconds to wait', schema: { type: 'integer' } } },
          content: { [CONTENT_TYPES.json]: { schema: { $ref: '#/components/schemas/Error' } } },
        },
      },
    },
  }
  for (const contract of contracts) {
    const note = contract.deprecated && ` Deprecated: ${noteOf(contract.deprecated)}`
    document.tags.push({ name: contract.name, description: `Version ${contract.version}.${note ?? ''}` })
    for (const [name, method] of Object.entries<Method>(contract.methods)) addMethod(document, contract, name, method)
  }
  return document
}

function addMethod(document: OpenApiDocument, contract: ServiceContract, name: string, method: Method): void {
  const operationId = `${contract.name}.${name}`
  const place = (side: 'Input' | 'Output') => {
    const key = `${operationId}.${side}`
    const pointer = `#/components/schemas/${key}`
    const [schema, io] = side === 'Input' ? [method.input, 'input'] as const : [method.output, 'output'] as const
    document.components.schemas[key] = jsonSchemaOf(schema, io, pointer)
    return { schema: { $ref: pointer } }
  }
  const [input, output] = [place('Input'), place('Output')]
  const deprecation = method.deprecated ?? contract.deprecated
  const streams = method.kind === 'server_streaming'
  const words = [
    deprecation && `Deprecated: ${noteOf(deprecation)}.`,
    method.idempotent && 'Idempotent: it may be tried again.',
    streams && 'A stream: each server-sent event, or each envelope of Connect, has one value of this schema.',
  ].filter(Boolean)
  document.paths[`/rpc/${contract.name}/${name}`] = {
    post: {
      operationId,
      tags: [contract.name],
      ...(words.length > 0 && { description: words.join(' ') }),
      ...(deprecation && { deprecated: true }),
      parameters: Object.keys(PARAMETERS).map((key) => ({ $ref: `#/components/parameters/${key}` })),
      requestBody: {
        required: true,
        content: streams
          ? { [CONTENT_TYPES.json]: input, [STREAM_TYPES.json]: input, [STREAM_TYPES.msgpack]: input }
          : { [CONTENT_TYPES.json]: input, [CONTENT_TYPES.msgpack]: input },
      },
      responses: {
        200: {
          description: streams ? 'The items, as they come' : 'The answer',
          content: streams
            ? { 'text/event-stream': output, [STREAM_TYPES.json]: output, [STREAM_TYPES.msgpack]: output }
            : { [CONTENT_TYPES.json]: output, [CONTENT_TYPES.msgpack]: output },
        },
        default: { $ref: '#/components/responses/Error' },
      },
    },
  }
}

const ERROR: JsonSchema = {
  type: 'object',
  required: ['code', 'message'],
  properties: {
    code: { type: 'string', description: 'One of the sixteen codes of gRPC and Connect' },
    message: { type: 'string' },
    details: { type: 'array', items: { type: 'object' } },
  },
}

const PARAMETERS: Readonly<Record<string, JsonSchema>> = {
  Timeout: {
    name: 'connect-timeout-ms',
    in: 'header',
    description: 'Milliseconds that the call may take, over all attempts',
    schema: { type: 'integer', minimum: 1, maximum: LIMITS.maxTimeoutMs },
  },
  Version: {
    name: 'shoal-version',
    in: 'header',
    description: 'Semver range of the contract',
    schema: { type: 'string' },
  },
  Group: { name: 'shoal-group', in: 'header', schema: { type: 'string', default: 'default' } },
}
