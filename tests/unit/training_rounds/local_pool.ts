import { type Bytes, sha256Hex } from '../../../shared/base/bytes.ts'
import { systemClock } from '../../../shared/base/clock.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import { openEngine } from '../../../shared/engine/open_engine.ts'
import { describeHost, loadOrtNode } from '../../../shared/engine/ort_node.ts'
import type { Callee, Directory } from '../../../shared/rpc/directory.ts'
import { createServer, type Implementation } from '../../../shared/rpc/server.ts'
import type { Interceptor } from '../../../shared/rpc/send.ts'
import { intercept } from '../../../shared/rpc/send.ts'
import { memoryTransport } from '../../../shared/rpc/transports/memory.ts'
import type { DataSource } from '../../../shared/training/data_rows.ts'
import type { PutBlob } from '../../../shared/training/dataset.ts'
import { relayTraining } from '../../../shared/training/relay_training.ts'
import { workerTraining } from '../../../shared/training/worker_training.ts'
import type { RunModel } from '../../../shared/training/trace_shapes.ts'
import { RpcError } from '../../../shared/wire/errors.ts'

export function wasmEngine(): Promise<Engine> {
  return openEngine({ wish: 'wasm', gpu: undefined, host: describeHost(), loadOrt: (device) => loadOrtNode(device) })
}

/** Runs a model once on an engine and forgets it. */
export function runnerOn(engine: Engine): RunModel {
  return async (model, inputs) => {
    const key = await sha256Hex(model)
    await engine.load(key, model)
    try {
      return (await engine.run(key, { ...inputs })).outputs
    } finally {
      await engine.unload(key)
    }
  }
}

/** Blobs in memory, as a gateway would keep them. */
export class MemoryBlobs implements DataSource {
  readonly #blobs = new Map<string, Bytes>()
  reads = 0

  readonly put: PutBlob = async (bytes) => {
    const sha256 = await sha256Hex(bytes)
    this.#blobs.set(sha256, bytes as Bytes)
    return sha256
  }

  async blob(sha256: string): Promise<Bytes> {
    this.reads++
    const found = this.#blobs.get(sha256)
    if (!found) throw new RpcError('not_found', `Cannot find blob ${sha256}: nothing was put there`)
    return found
  }

  range(): Promise<Bytes> {
    throw new RpcError('unimplemented', 'Cannot read by range: these blobs have no URL')
  }
}

/** Workers in this process, reached through real frames. Those that are removed answer nothing any more. */
export class LocalPool implements Directory {
  readonly metrics = new Metrics()
  readonly #members = new Map<string, { callee: Callee; close: () => void }>()
  readonly #listeners = new Set<() => void>()
  #added = 0

  list(): readonly Callee[] {
    return [...this.#members.values()].map(({ callee }) => callee)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  add(implementation: Implementation, interceptors: readonly Interceptor[] = []): string {
    const id = `m${this.#added++}`
    const transport = memoryTransport(intercept(createServer([implementation]), interceptors))
    this.#members.set(id, { callee: { id, send: transport.send }, close: () => transport.close() })
    this.#tell()
    return id
  }

  addWorker(engine: Engine, source: DataSource, interceptors: readonly Interceptor[] = []): string {
    return this.add(workerTraining({ engine, source }), interceptors)
  }

  /** A relay with the workers of another pool behind it. */
  addRelay(workers: LocalPool, interceptors: readonly Interceptor[] = []): string {
    const deps = {
      clock: systemClock,
      metrics: workers.metrics,
      log: silentLog,
      random: seededRandom(1),
      directory: workers,
    }
    return this.add(relayTraining(deps), interceptors)
  }

  /** As a killed process goes: at once, with all that it was doing. */
  kill(id: string): void {
    const member = this.#members.get(id)
    this.#members.delete(id)
    member?.close()
    this.#tell()
  }

  get size(): number {
    return this.#members.size
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener()
  }
}
