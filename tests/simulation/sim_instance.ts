import { sleep } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import { Announcer } from '../../shared/registry/announcer.ts'
import { createServer, implement } from '../../shared/rpc/server.ts'
import type { Send } from '../../shared/rpc/send.ts'
import type { Instance } from '../../shared/stores/lease_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { TTL_MS } from './observer.ts'
import { Sim } from './sim_contract.ts'
import type { SimConnection } from './sim_connection.ts'
import type { SimProcess } from './sim_process.ts'
import { storeOver } from './store_client.ts'
import type { World } from './world.ts'

/** Part of its calls that a flaky instance fails: with retries most calls still succeed, and no breaker opens. */
const FLAKY_SHARE = 0.6

/** One life of an instance: the real announcer and the real dispatch, in a simulated process. */
export class SimInstance {
  readonly record: Instance
  readonly process: SimProcess
  readonly serve: Send
  readonly connections = new Set<SimConnection>()
  /** How long a call takes, and how it ends. */
  behaviour: 'sound' | 'slow' | 'flaky' | 'failing' = 'sound'
  readonly #world: World
  readonly #announcer: Announcer
  #hasLeft = false

  constructor(world: World, id: string, incarnation: string) {
    this.#world = world
    this.process = world.process(id)
    this.record = {
      id,
      service: Sim.name,
      version: world.versionOf(id),
      group: 'default',
      address: { kind: 'url', url: `http://${id}` },
      incarnation,
      ttlMs: TTL_MS,
      weight: 1,
      zone: world.zoneOf(id),
    }
    const work = async (method: 'read' | 'write', call: number) => {
      world.observer.onExecuted(call, method, `${id}/${incarnation}`)
      const { random } = world
      const isSlow = this.behaviour === 'slow'
      await sleep(this.process, isSlow ? 2_000 : 1 + random() * 20)
      const isFailing = this.behaviour === 'failing' || (this.behaviour === 'flaky' && random() < FLAKY_SHARE)
      if (isFailing) throw new RpcError('unavailable', 'the instance cannot work')
      return { call, by: this.record.version }
    }
    this.serve = createServer([
      implement(Sim, { read: ({ call }) => work('read', call), write: ({ call }) => work('write', call) }),
    ])
    const leases = world.parts.announcing(storeOver(world, this.process))
    // Refused, its life is over, and it ends as a process does that is told so.
    const onRefused = () => this.kill()
    const deps = { leases, clock: this.process, random: world.random, log: silentLog, onRefused }
    this.#announcer = new Announcer(deps, [this.record])
  }

  get isServing(): boolean {
    return this.process.isRunning && !this.#hasLeft
  }

  start(): void {
    void this.#announcer.start()
  }

  /** Says goodbye. It still answers, as an instance does that drains. */
  leave(): void {
    this.#hasLeft = true
    this.#world.observer.note(`${this.record.id} leaves`)
    void this.#announcer.stop()
  }

  kill(): void {
    this.#world.observer.note(`kill ${this.record.id}/${this.record.incarnation}`)
    this.process.kill()
    for (const connection of this.connections) connection.reset()
  }
}
