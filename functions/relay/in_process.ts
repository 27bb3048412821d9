import type { Clock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Log } from '../../shared/base/log.ts'
import type { Metrics } from '../../shared/base/metrics.ts'
import { newId, type Random } from '../../shared/base/random.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { Announcer } from '../../shared/registry/announcer.ts'
import { issueEnrolToken } from '../../shared/relay/enrol_token.ts'
import { Hub } from '../../shared/relay/hub.ts'
import type { Session, WorkerLink } from '../../shared/relay/session.ts'
import type { Address, Instance, LeaseStore } from '../../shared/stores/lease_store.ts'
import type { OnceStore } from '../../shared/stores/once_store.ts'
import { relayTraining } from '../../shared/training/relay_training.ts'
import { admitOnce } from './admit.ts'

export interface InProcessRelayDeps {
  /** A new name by default. */
  name?: string
  leases: Pick<LeaseStore, 'renew' | 'leave'>
  once: OnceStore
  /** Signs enrolment tokens. */
  secret: string
  /** How other gateways reach this relay; by default only this process can. */
  address?: Address
  /** Where this process runs. */
  zone?: string
  /** As in HubDeps. */
  spotCheckShare?: number
  /** Called when the relay comes to have workers that take calls, and when it has none left. */
  onPopulated?(populated: boolean): void
  clock: Clock
  random: Random
  metrics: Metrics
  log: Log
}

/** A relay that lives in a gateway's process, on Node or Deno. It is registered while it has workers. */
export class InProcessRelay {
  readonly name: string
  readonly hub: Hub
  readonly #deps: InProcessRelayDeps
  #announcer: { instance: Instance; announcer: Announcer } | undefined
  #cancelSweep = () => {}

  constructor(deps: InProcessRelayDeps) {
    this.#deps = deps
    this.name = deps.name ?? newId('relay')
    this.hub = new Hub({
      ...deps,
      name: this.name,
      maxMessageBytes: LIMITS.maxTrainingBytes,
      soon: (task) => void setImmediate(task),
      admit: (token) => admitOnce(token, this.name, { ...deps, clock: Date }),
      onPopulated: (populated) => {
        void this.#announce(populated)
        deps.onPopulated?.(populated)
      },
      services: (directory) => [relayTraining({ ...deps, directory })],
    })
    this.#sweep()
  }

  /** This relay as an instance of `shoal.Pool`, while it has workers: known here without asking the store. */
  get instance(): Instance | undefined {
    return this.#announcer?.instance
  }

  async enrol(volunteer = false): Promise<{ relay: string; token: string; expiresInMs: number }> {
    return { relay: this.name, ...await issueEnrolToken(this.#deps.secret, this.name, undefined, undefined, volunteer) }
  }

  accept(link: WorkerLink): Session | undefined {
    return this.hub.open(link)
  }

  /** Leaves the registry, and goes on serving whoever has not heard of it. */
  async withdraw(): Promise<void> {
    await this.#announce(false)
  }

  async close(): Promise<void> {
    this.#cancelSweep()
    this.hub.close()
    await this.#announce(false)
  }

  async #announce(populated: boolean): Promise<void> {
    if (populated === (this.#announcer !== undefined)) return
    if (!populated) {
      const ending = this.#announcer?.announcer
      this.#announcer = undefined
      return await ending?.stop()
    }
    const instance: Instance = {
      id: this.name,
      service: Pool.name,
      version: Pool.version,
      group: 'default',
      address: this.#deps.address ?? { kind: 'relay', name: this.name },
      // A life over is over: each time the first worker comes, a new one begins.
      incarnation: newId('life'),
      ttlMs: DEFAULTS.relayLeaseMs,
      weight: 1,
      zone: this.#deps.zone ?? '',
    }
    const announcer = new Announcer({ ...this.#deps, onRefused: () => void this.#beginAgain() }, [instance])
    this.#announcer = { instance, announcer }
    await announcer.start()
  }

  /** The store says that this life is over, though its workers are here: another begins. */
  async #beginAgain(): Promise<void> {
    await this.#announce(false)
    if (this.hub.populated) await this.#announce(true)
  }

  #sweep(): void {
    // Often enough that a socket is given up before the third ping that it would have missed.
    this.#cancelSweep = this.#deps.clock.after(DEFAULTS.pingIntervalMs / 4, () => {
      this.hub.sweep()
      this.#sweep()
    })
  }
}
