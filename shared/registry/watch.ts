import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { RpcError } from '../wire/errors.ts'
import type { RegistryTable, TableView } from './table.ts'

/**
 * Keeps a process's table fresh between its reads, where the process lives on between them (Node, Deno): each service that
 * was read of late or is watched is asked for once a second, by its revision. So joins and leaves show within a second
 * though nobody calls, and the first call after a pause meets no stale table. Elsewhere reads refresh it.
 */
export class RegistryWatch {
  readonly #table: RegistryTable
  readonly #clock: Clock
  /** Watched services, and how many watch each. */
  readonly #watched = new Map<string, number>()
  readonly #closing = new AbortController()
  readonly #endListening: () => void
  #watchers = 0
  #cancelTick = () => {}
  #wake = Promise.withResolvers<void>()

  constructor(table: RegistryTable, clock: Clock) {
    this.#table = table
    this.#clock = clock
    this.#endListening = table.onChange((service) => {
      if (this.#watched.has(service)) this.#wakeAll()
    })
    this.#tick()
  }

  /**
   * A service's table now and after each change. Who reads slowly misses what was in between, never the latest.
   * Ends with `signal` or when the watch is closed.
   * @throws RpcError `resource_exhausted` if too many watch
   */
  watch(service: string, signal: AbortSignal): AsyncGenerator<TableView, void, void> {
    if (this.#watchers >= LIMITS.maxWatchers) {
      throw new RpcError(
        'resource_exhausted',
        `Cannot watch ${service}: at most ${LIMITS.maxWatchers} may watch at once`,
        {
          retryAfterMs: DEFAULTS.retryAfterMs,
        },
      )
    }
    return this.#news(service, signal)
  }

  /** Ends all watching. */
  close(): void {
    this.#closing.abort()
    this.#cancelTick()
    this.#endListening()
  }

  async *#news(service: string, signal: AbortSignal): AsyncGenerator<TableView, void, void> {
    this.#watchers++
    this.#watched.set(service, (this.#watched.get(service) ?? 0) + 1)
    const ending = AbortSignal.any([signal, this.#closing.signal])
    const onEnd = () => this.#wakeAll()
    ending.addEventListener('abort', onEnd)
    try {
      let seen: TableView['instances'] | undefined
      while (!ending.aborted) {
        const changed = this.#wake.promise
        const view = await this.#table.view(service)
        if (ending.aborted) return
        if (view && view.instances !== seen) yield view
        else await changed
        seen = view?.instances
      }
    } finally {
      ending.removeEventListener('abort', onEnd)
      this.#watchers--
      const left = (this.#watched.get(service) ?? 1) - 1
      if (left === 0) this.#watched.delete(service)
      else this.#watched.set(service, left)
    }
  }

  #tick(): void {
    let nextMs: number = DEFAULTS.registryRefreshMs
    for (const service of new Set([...this.#table.inUse(), ...this.#watched.keys()])) {
      nextMs = Math.min(nextMs, this.#table.keepFresh(service))
    }
    // Timers may be early by a fraction of a millisecond; what is not due yet then would be asked for a turn later.
    this.#cancelTick = this.#clock.after(Math.max(1, nextMs), () => this.#tick())
  }

  #wakeAll(): void {
    const { resolve } = this.#wake
    this.#wake = Promise.withResolvers()
    resolve()
  }
}
