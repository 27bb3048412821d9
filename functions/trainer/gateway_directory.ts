import type { Clock } from '../../shared/base/clock.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Callee, Directory } from '../../shared/rpc/directory.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import type { LocalRelay } from '../gateway/host.ts'

/** How often the gateway is asked which relays have workers. */
const POLL_MS = 1_000

export interface ListedWorker {
  id: string
  name: string
  relay: string
  device: string
}

/** A gateway's relays as members of a round, each reached by its name through the gateway. */
export class GatewayDirectory implements Directory {
  readonly #gateway: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #clock: Clock
  readonly #local: Pick<LocalRelay, 'name' | 'send'> | undefined
  readonly #listeners = new Set<() => void>()
  readonly #stop = new AbortController()
  #relays = new Map<string, Callee>()
  #workers: readonly ListedWorker[] = []
  #cancel = () => {}

  /** @param local a relay of this very process: it is called without a detour */
  constructor(
    access: { url: string; headers: Readonly<Record<string, string>> },
    clock: Clock,
    local?: Pick<LocalRelay, 'name' | 'send'>,
  ) {
    this.#gateway = access.url
    this.#headers = access.headers
    this.#clock = clock
    this.#local = local
    void this.#poll()
  }

  /** Every worker behind the gateway, as of the last time it answered. */
  get workers(): readonly ListedWorker[] {
    return this.#workers
  }

  list(): readonly Callee[] {
    return [...this.#relays.values()]
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(): void {
    this.#stop.abort()
    this.#cancel()
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stop
    try {
      const response = await fetch(`${this.#gateway}/workers`, { headers: this.#headers, signal, redirect: 'manual' })
      if (response.ok) this.#update((await response.json() as { workers: ListedWorker[] }).workers)
    } catch {
      // Who was there is likely still there: calls find out by themselves.
    }
    if (!signal.aborted) this.#cancel = this.#clock.after(POLL_MS, () => void this.#poll())
  }

  #update(workers: readonly ListedWorker[]): void {
    this.#workers = workers
    const names = new Set(workers.map(({ relay }) => relay))
    const isSame = names.size === this.#relays.size && [...names].every((name) => this.#relays.has(name))
    if (isSame) return
    this.#relays = new Map([...names].map((id) => [id, this.#relays.get(id) ?? this.#callee(id)]))
    for (const listener of [...this.#listeners]) listener()
  }

  #callee(relay: string): Callee {
    if (relay === this.#local?.name) return { id: relay, send: this.#local.send }
    const base = `${this.#gateway}/relays/${encodeURIComponent(relay)}`
    return {
      id: relay,
      send: fetchTransport(base, { headers: this.#headers, maxMessageBytes: LIMITS.maxTrainingBytes }).send,
    }
  }
}
