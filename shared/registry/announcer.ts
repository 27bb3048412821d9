import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import { jitter, type Random } from '../base/random.ts'
import type { Instance, LeaseStore } from '../stores/lease_store.ts'

export interface AnnouncerDeps {
  leases: Pick<LeaseStore, 'renew' | 'leave'>
  clock: Clock
  random: Random
  log: Log
}

/** Keeps instances registered while the process that runs them lives: a beat every few seconds, a leave at the end. */
export class Announcer {
  readonly #deps: AnnouncerDeps
  readonly #beatMs: number
  #instances: readonly Instance[]
  #cancelBeat = () => {}
  #stopped = false

  constructor(deps: AnnouncerDeps, instances: readonly Instance[], beatMs: number = DEFAULTS.relayBeatMs) {
    this.#deps = deps
    this.#instances = instances
    this.#beatMs = beatMs
  }

  /** Registers at once and goes on beating. A store that is away is tried again at the next beat. */
  async start(): Promise<void> {
    await this.#beat()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelBeat()
    await Promise.all(
      this.#instances.map(({ service, id, incarnation }) => this.#deps.leases.leave(service, id, incarnation)),
    )
      .catch((thrown) => this.#deps.log('warn', 'leave failed; the lease will run out', { reason: String(thrown) }))
  }

  async #beat(): Promise<void> {
    try {
      await this.#deps.leases.renew(this.#instances)
    } catch (thrown) {
      this.#deps.log('warn', 'heartbeat failed', { reason: String(thrown) })
    }
    if (this.#stopped) return
    const delayMs = jitter(this.#beatMs, DEFAULTS.beatJitter, this.#deps.random)
    this.#cancelBeat = this.#deps.clock.after(delayMs, () => void this.#beat())
  }
}
