import type { StandardSchemaV1 } from '@standard-schema/spec'
import { Pool } from '../../shared/contracts/pool.ts'
import type { ModelCatalog } from '../../shared/models/catalog.ts'
import { checkTensors } from '../../shared/models/check_inputs.ts'
import { type ResultCache, SHARED_RUN_MS } from '../../shared/models/result_cache.ts'
import { validate } from '../../shared/rpc/contract.ts'
import { NO_METADATA } from '../../shared/rpc/metadata.ts'
import type { Metadata, RpcRequest, RpcResponse, Send } from '../../shared/rpc/send.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { decodePayload } from '../../shared/wire/payload.ts'
import type { ModelManifest } from '../../shared/wire/signature.ts'
import type { Tensor } from '../../shared/wire/tensor.ts'

export interface InferCall {
  model: string
  version?: string
  inputs: Record<string, Tensor>
  /** Names of the outputs wanted; all where left out. */
  outputs?: readonly string[]
  priority?: 'high' | 'normal' | 'low'
  /** The id of the caller's key, where keys are asked for: workers are shared fairly between callers. */
  caller?: string
  timeoutMs: number
  signal: AbortSignal
  traceparent: string
}

export interface InferResult {
  manifest: ModelManifest
  outputs: Record<string, Tensor>
  /** Which worker answered, on what, and how long each stage took. */
  metadata: Metadata
}

export type Infer = (call: InferCall) => Promise<InferResult>

/** Runs a model by name: looks it up, checks the inputs against its signature, and calls a pool that has workers. */
export function createInference(deps: { catalog: ModelCatalog; route: Send; results?: ResultCache }): Infer {
  return async (call) => {
    const manifest = deps.catalog.peek(call.model, call.version) ??
      await findModel(deps.catalog, call.model, call.version)
    checkTensors(manifest.name, manifest.signature, call.inputs)
    checkOutputs(manifest, call.outputs)
    const { outputs, metadata } = manifest.cache && deps.results
      ? await runOrRemember(deps.results, deps.route, manifest, call)
      : await runInPool(deps.route, manifest, call)
    const { outputs: wanted } = call
    return { manifest, outputs: wanted && wanted.length > 0 ? pick(outputs, wanted) : outputs, metadata }
  }
}

/** The answer of a model whose answers may be kept; `shoal-cache` in its metadata tells where it came from. */
async function runOrRemember(results: ResultCache, route: Send, manifest: ModelManifest, call: InferCall) {
  const { outcome, outputs, result } = await results.get(manifest, call, (signal) => {
    // A run that others may wait for as well is not bound to the time of the one who asked first.
    const own = signal === call.signal
    return runInPool(
      route,
      manifest,
      own ? call : { ...call, signal, timeoutMs: Math.max(call.timeoutMs, SHARED_RUN_MS) },
    )
  })
  return { outputs, metadata: { ...result?.metadata, 'shoal-cache': outcome } }
}

/** Calls `shoal.Pool/run`. The deadline is the caller's own, so no client of its own keeps time here. */
function runInPool(route: Send, manifest: ModelManifest, call: InferCall): Promise<PoolResult> {
  return route(poolRun(manifest, call)).then(resultOf, (thrown) => {
    throw withoutPool(withJobs(thrown))
  })
}

function poolRun(manifest: ModelManifest, call: InferCall): RpcRequest {
  const model = refOf(manifest)
  const { inputs, priority, caller } = call
  const value: PoolRun = { model, inputs, priority, caller }
  return {
    service: Pool.name,
    method: 'run',
    version: POOL_VERSIONS,
    group: 'default',
    stream: false,
    idempotent: Pool.methods.run.idempotent,
    timeoutMs: call.timeoutMs,
    signal: call.signal,
    traceparent: call.traceparent,
    metadata: NO_METADATA,
    payload: { codec: 'value', value },
  }
}

/** What pools must know of models. A manifest is the same object as long as it is at hand. */
const refs = new WeakMap<ModelManifest, PoolRun['model']>()

function refOf(manifest: ModelManifest): PoolRun['model'] {
  const known = refs.get(manifest)
  if (known) return known
  const { sha256, signature: { batchable }, visibility, maxQueueDelayUs, warmUp, bytes, files } = manifest
  const model: PoolRun['model'] = { sha256, batchable, bytes, fileBytes: files?.[0]?.bytes ?? bytes }
  if (visibility === 'public') model.public = true
  if (maxQueueDelayUs !== undefined) model.maxQueueDelayUs = maxQueueDelayUs
  if (warmUp && batchable) model.warmUp = [...warmUp]
  if (manifest.largestTensorBytes !== undefined) model.largestTensorBytes = manifest.largestTensorBytes
  if (manifest.deterministic) model.deterministic = true
  refs.set(manifest, model)
  return model
}

const POOL_VERSIONS = `^${Pool.version}`

interface PoolResult {
  outputs: Record<string, Tensor>
  metadata: Metadata
}

/** A pool of this very process answers with a value, which its types have checked. */
function resultOf(response: RpcResponse): PoolResult | Promise<PoolResult> {
  if (response.kind !== 'unary') throw new RpcError('internal', "Cannot read the pool's answer: expected one value")
  const { payload, metadata } = response
  const withOutputs = (answer: unknown): PoolResult => ({ outputs: (answer as PoolAnswer).outputs, metadata })
  if (payload.codec === 'value') return withOutputs(payload.value)
  const what = 'the output of shoal.Pool/run'
  const answer = validate(Pool.methods.run.output, decodePayload(payload), what, 'internal')
  return answer instanceof Promise ? answer.then(withOutputs) : withOutputs(answer)
}

type PoolRun = StandardSchemaV1.InferInput<typeof Pool.methods.run.input>
type PoolAnswer = StandardSchemaV1.InferOutput<typeof Pool.methods.run.output>

/** @throws RpcError `not_found` naming what is missing */
export async function findModel(catalog: ModelCatalog, name: string, version?: string): Promise<ModelManifest> {
  const manifest = await catalog.find(name, version)
  if (manifest) return manifest
  const known = version !== undefined && await catalog.find(name)
  throw new RpcError(
    'not_found',
    known
      ? `Cannot find model "${name}" version ${version}: the newest is ${known.version}`
      : `Cannot find model "${name}": no model of that name was pushed`,
  )
}

function checkOutputs(manifest: ModelManifest, wanted: readonly string[] | undefined): void {
  if (!wanted) return
  const known = manifest.signature.outputs.map(({ name }) => name)
  for (const name of wanted) {
    if (!known.includes(name)) {
      throw invalid(`Cannot run "${manifest.name}": outputs must be among ${known.join(', ')}, got "${name}"`)
    }
  }
}

function pick(outputs: Record<string, Tensor>, names: readonly string[]): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(outputs).filter(([name]) => names.includes(name)))
}

/** A queue that is full is no reason to come back in vain: jobs wait where there is room, and drain at the pool's pace. */
function withJobs(thrown: unknown): unknown {
  if (!(thrown instanceof RpcError) || thrown.code !== 'resource_exhausted') return thrown
  const { message, details, retryAfterMs, neverSent, cause } = thrown
  return new RpcError('resource_exhausted', `${message} (try again later, or submit it as a job: POST /jobs)`, {
    details: [...details, { jobs: '/jobs' }],
    retryAfterMs,
    neverSent,
    cause,
  })
}

/** To a caller the pool is no service of its own: that none is registered means that no worker has joined. */
function withoutPool(thrown: unknown): unknown {
  if (!(thrown instanceof RpcError) || thrown.code !== 'not_found') return thrown
  return new RpcError(
    'unavailable',
    'Cannot run the model: no worker is connected (open /join in a browser, or run "shoal worker")',
    { retryAfterMs: 1000, neverSent: true },
  )
}
