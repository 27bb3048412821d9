import { type Bytes, concat, encodeUtf8, sha256Hex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { Metrics } from '../base/metrics.ts'
import { untilAborted } from '../rpc/deadline.ts'
import type { ModelManifest } from '../wire/signature.ts'
import { Tensor } from '../wire/tensor.ts'

type Tensors = Record<string, Tensor>
/** What a call got: an answer kept from before, one that another call was just waiting for, or one of its own. */
export type CacheOutcome = 'hit' | 'shared' | 'miss'

interface Entry {
  model: string
  outputs: Tensors
  bytes: number
  expiresMs: number
}
interface Flight<R> {
  result: Promise<R>
  cancel: AbortController
  /** Calls that wait for it. */
  waiting: number
}

export interface ResultCacheDeps {
  clock: Clock
  metrics: Metrics
  /**
   * Whether calls that ask the same at once share one run. Not on Cloudflare, where what one request began cannot be waited
   * for, nor cancelled, by another.
   */
  shares: boolean
}

/** A cached answer's own weight beside its data: key, entry, tensors. */
const ENTRY_BYTES = 512

/**
 * Answers of models that allow it (`manifest.cache`), by model hash, inputs and caller: never one caller's answer for
 * another. Bounded in bytes for each model and as a whole; the least recently used go first.
 */
export class ResultCache {
  readonly #deps: ResultCacheDeps
  /** In order of use, oldest first. */
  readonly #entries = new Map<string, Entry>()
  readonly #bytesOf = new Map<string, number>()
  // The results of one key are of one kind: whoever asks has the same `compute`.
  readonly #flights = new Map<string, Flight<unknown>>()
  #bytes = 0

  constructor(deps: ResultCacheDeps) {
    this.#deps = deps
    deps.metrics.gauge('shoal_result_cache_bytes', () => this.#bytes)
  }

  /**
   * @param compute asked where nothing is kept; its signal aborts when nobody waits for its answer any more
   * @returns `result` unless the answer was kept from before
   */
  async get<R extends { outputs: Tensors }>(
    manifest: ModelManifest,
    call: { inputs: Tensors; caller?: string; signal: AbortSignal },
    compute: (signal: AbortSignal) => Promise<R>,
  ): Promise<{ outcome: CacheOutcome; outputs: Tensors; result?: R }> {
    const key = await keyOf(manifest.sha256, call.caller ?? '', call.inputs)
    const kept = this.#take(key)
    if (kept) return { outcome: this.#count('hit'), outputs: kept.outputs }
    const known = this.#deps.shares ? this.#flights.get(key) as Flight<R> | undefined : undefined
    const outcome = this.#count(known ? 'shared' : 'miss')
    const result =
      await (this.#deps.shares
        ? this.#join(key, known ?? this.#begin(manifest, key, compute), call.signal)
        : compute(call.signal).then((found) => this.#keep(manifest, key, found)))
    return { outcome, outputs: result.outputs, result }
  }

  #begin<R extends { outputs: Tensors }>(
    manifest: ModelManifest,
    key: string,
    compute: (signal: AbortSignal) => Promise<R>,
  ): Flight<R> {
    const cancel = new AbortController()
    const result = compute(cancel.signal).then((found) => this.#keep(manifest, key, found))
    const flight: Flight<R> = { cancel, waiting: 0, result }
    this.#flights.set(key, flight as Flight<unknown>)
    const end = () => this.#land(key, flight)
    result.then(end, end)
    return flight
  }

  /** Waits with others: whoever leaves does not end it for the rest. */
  async #join<R>(key: string, flight: Flight<R>, signal: AbortSignal): Promise<R> {
    flight.waiting++
    try {
      return await untilAborted(flight.result, signal)
    } finally {
      if (--flight.waiting === 0) {
        this.#land(key, flight)
        flight.cancel.abort(signal.reason)
      }
    }
  }

  #land<R>(key: string, flight: Flight<R>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key)
  }

  #keep<R extends { outputs: Tensors }>(manifest: ModelManifest, key: string, result: R): R {
    const { cache, sha256 } = manifest
    if (!cache) return result
    const outputs = copyOf(result.outputs)
    const bytes = ENTRY_BYTES + Object.values(outputs).reduce((total, tensor) => total + tensor.bytes.byteLength, 0)
    this.#drop(key)
    if (bytes > cache.maxBytes || bytes > LIMITS.maxResultCacheBytes) return result
    this.#add(key, { model: sha256, outputs, bytes, expiresMs: this.#deps.clock.now() + cache.ttlMs })
    for (const [oldest, entry] of this.#entries) {
      const full = this.#bytes > LIMITS.maxResultCacheBytes
      const modelFull = (this.#bytesOf.get(sha256) ?? 0) > cache.maxBytes
      if (!full && !modelFull) break
      if (full || entry.model === sha256) this.#drop(oldest)
    }
    return result
  }

  #take(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    this.#drop(key)
    if (this.#deps.clock.now() >= entry.expiresMs) return undefined
    this.#add(key, entry)
    return entry
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry)
    this.#charge(entry, entry.bytes)
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key)
    if (!entry) return
    this.#entries.delete(key)
    this.#charge(entry, -entry.bytes)
  }

  #charge({ model }: Entry, bytes: number): void {
    this.#bytes += bytes
    const total = (this.#bytesOf.get(model) ?? 0) + bytes
    if (total > 0) this.#bytesOf.set(model, total)
    else this.#bytesOf.delete(model)
  }

  #count(outcome: CacheOutcome): CacheOutcome {
    this.#deps.metrics.count('shoal_result_cache_calls_total', LABELS[outcome])
    return outcome
  }
}

const LABELS = { hit: { outcome: 'hit' }, shared: { outcome: 'shared' }, miss: { outcome: 'miss' } } as const

/** The longest that a run may take which several calls wait for: each leaves by its own deadline. */
export const SHARED_RUN_MS = DEFAULTS.runTimeoutMs

/** Names, dtypes and shapes stand before the data, so that the same bytes in another form are another key. */
function keyOf(model: string, caller: string, inputs: Tensors): Promise<string> {
  const sorted = Object.entries(inputs).sort(([a], [b]) => a < b ? -1 : 1)
  const head = JSON.stringify([model, caller, sorted.map(([name, { dtype, shape }]) => [name, dtype, shape])])
  return sha256Hex(concat([encodeUtf8(head), ...sorted.map(([, tensor]) => tensor.bytes)]))
}

/** Outputs are views of whatever message brought them, which may be much larger. */
function copyOf(outputs: Tensors): Tensors {
  const copies: Tensors = Object.create(null)
  for (const [name, { dtype, shape, bytes }] of Object.entries(outputs)) {
    copies[name] = new Tensor(dtype, shape, new Uint8Array(bytes) as Bytes)
  }
  return copies
}
