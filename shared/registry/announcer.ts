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
  /** Hears of instances whose life is over by the store's account: they are announced no more. */
  onRefused?(instances: readonly Instance[]): void
}

/**
 * How much sooner than a beat later a failed one is made again, and the spread of that. With beats a third of a lease
 * apart, the second after a success still comes within the lease: 1.2 + 2 · 0.84 · 1.05 < 3. And a store in trouble gets
 * at most 1 / 0.84 = 1.19 times as many beats for it, whichever part of them it refuses.
 */
const RETRY_BEAT = 0.84
const RETRY_JITTER = 0.05

/** Keeps instances registered while the process that runs them lives: a beat every few seconds, a leave at the end. */
export class Announcer {
  readonly #deps: AnnouncerDeps
  readonly #beatMs: number
  #instances: readonly Instance[]
  #cancelBeat = () => {}
  #phase: 'new' | 'beating' | 'stopped' = 'new'

  constructor(deps: AnnouncerDeps, instances: readonly Instance[], beatMs: number = DEFAULTS.relayBeatMs) {
    this.#deps = deps
    this.#instances = instances
    this.#beatMs = beatMs
  }

  /** Registers at once and goes on beating. A store that is away is tried again a little sooner than a beat later. */
  async start(): Promise<void> {
    if (this.#phase !== 'new') return
    this.#phase = 'beating'
    await this.#beat()
  }

  /** Leaves at once. A beat under way cannot bring the instances back: their life is over for the store. */
  async stop(): Promise<void> {
    if (this.#phase === 'stopped') return
    this.#phase = 'stopped'
    this.#cancelBeat()
    await Promise.all(this.#instances.map(async ({ service, id, incarnation }) => {
      try {
        await this.#deps.leases.leave(service, id, incarnation)
      } catch (thrown) {
        this.#deps.log('warn', 'leave failed; the lease will run out', { service, id, reason: String(thrown) })
      }
    }))
  }

  async #beat(): Promise<void> {
    const { clock, random } = this.#deps
    const startedAtMs = clock.now()
    const heard = await this.#renew()
    if (this.#phase === 'stopped' || this.#instances.length === 0) return
    // Sooner after a failure, and counted from beat to beat: two that time out must not cost the lease of three beats.
    const gapMs = heard
      ? jitter(this.#beatMs, DEFAULTS.beatJitter, random)
      : jitter(this.#beatMs * RETRY_BEAT, RETRY_JITTER, random)
    this.#cancelBeat = clock.after(Math.max(0, startedAtMs + gapMs - clock.now()), () => void this.#beat())
  }

  /** @returns whether the store has answered */
  async #renew(): Promise<boolean> {
    let refused: readonly Instance[]
    try {
      refused = await this.#deps.leases.renew(this.#instances)
    } catch (thrown) {
      this.#deps.log('warn', 'heartbeat failed', { reason: String(thrown) })
      return false
    }
    // After a leave the store refuses all: that is as it should be.
    if (refused.length === 0 || this.#phase === 'stopped') return true
    const over = new Set(refused.map(nameOf))
    this.#instances = this.#instances.filter((instance) => !over.has(nameOf(instance)))
    for (const { service, id } of refused) this.#deps.log('error', 'lease refused: this life is over', { service, id })
    this.#deps.onRefused?.(refused)
    return true
  }
}

function nameOf({ service, id, incarnation }: Instance): string {
  return JSON.stringify([service, id, incarnation])
}
