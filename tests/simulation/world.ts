import type { Random } from '../../shared/base/random.ts'
import { jitter, seededRandom } from '../../shared/base/random.ts'
import { settle, VirtualTime } from '../unit/virtual_time.ts'
import type { RoutingPolicy } from '../../shared/routing/policy.ts'
import { type Parts, REAL } from './parts.ts'
import { Network } from './network.ts'
import { Observer, TTL_MS } from './observer.ts'
import { SimGateway } from './sim_gateway.ts'
import { SimInstance } from './sim_instance.ts'
import { FALLBACK, VERSIONS, ZONES } from './sim_contract.ts'
import { SimProcess } from './sim_process.ts'
import { SimStore } from './sim_store.ts'

/** Clocks run at rates this far apart, and show any time of day. */
const DRIFT = 0.02

/** A registry, instances that announce themselves in it, and gateways that call them, all under one seed. */
export class World {
  readonly time = new VirtualTime(1_700_000_000_000)
  readonly random: Random
  readonly observer: Observer
  readonly network: Network
  readonly store: SimStore
  readonly parts: Parts
  /** The latest life of each instance, by id. */
  readonly instances = new Map<string, SimInstance>()
  /** All lives that there have been. */
  readonly everyLife: SimInstance[] = []
  readonly gateways: SimGateway[] = []
  /** Whether this world has zones and two versions, and what policy its calls are routed by. */
  readonly isVaried: boolean
  readonly routing: RoutingPolicy
  #lives = 0
  #lossAtMs = -Infinity
  #calls = 0
  #connections = 0

  constructor(seed: number, parts: Parts = REAL) {
    this.random = seededRandom(seed)
    this.parts = parts
    this.observer = new Observer(this.time)
    this.network = new Network(this.time, this.random)
    this.store = new SimStore(this.time)
    this.isVaried = this.random() < 0.5
    this.routing = {
      hedge: this.random() < 0.3,
      ...(this.random() < 0.2 && { subset: 3 }),
      ...(this.random() < 0.2 && { fallback: { value: FALLBACK } }),
    }
  }

  process(name: string): SimProcess {
    const offsetMs = (this.random() - 0.5) * 7_200_000
    return new SimProcess(name, this.time, { rate: jitter(1, DRIFT, this.random), offsetMs })
  }

  /** Starts an instance; one of that id before it has another life, and may not know that it is over. */
  startInstance(id: string): void {
    const instance = new SimInstance(this, id, `life${this.#lives++}`)
    this.observer.note(`start ${id}/${instance.record.incarnation}`)
    this.instances.set(id, instance)
    this.everyLife.push(instance)
    instance.start()
  }

  zoneOf(id: string): string {
    return this.isVaried ? ZONES[numberOf(id) % ZONES.length] ?? '' : ''
  }

  /** Of an instance: every third has the later one, the first two never. */
  versionOf(id: string): string {
    return (this.isVaried && numberOf(id) % 3 === 2 ? VERSIONS[1] : VERSIONS[0])
  }

  startGateway(): SimGateway {
    const gateway = new SimGateway(this, `g${this.gateways.length}`)
    this.gateways.push(gateway)
    return gateway
  }

  /** Makes a call now, whose end the observer sees. */
  call(): void {
    const gateway = pick(this.gateways, this.random)
    if (gateway) void gateway.call(this.#calls++, this.random() < 0.7 ? 'read' : 'write')
  }

  /** Calls at a mean rate for so long, and lets them end. */
  async callFor(ms: number, perSecond: number): Promise<void> {
    const untilMs = this.time.now() + ms
    while (this.time.now() < untilMs) {
      this.call()
      // All that needs no time is done before time goes on.
      await settle(100)
      await this.time.runUntil(Math.min(untilMs, this.time.now() - Math.log(1 - this.random()) * 1000 / perSecond))
    }
  }

  nextConnection(): number {
    return this.#connections++
  }

  setStoreUp(isUp: boolean): void {
    this.store.isUp = isUp
    this.observer.onStoreUp(isUp)
  }

  /** Who listens at the address of an instance: its latest life that is not over. */
  listener(id: string): SimInstance | undefined {
    return this.everyLife.findLast(({ record, process }) => record.id === id && !process.isDead)
  }

  /** Whether an instance runs, works, and can be reached from a process. */
  isWell(id: string, from: string): boolean {
    const listener = this.listener(id)
    return Boolean(listener?.isServing && listener.behaviour === 'sound') && !this.network.line(from, id).isCut
  }

  /** Whether the store may lose something again: not before all have had the time to beat since it last did. */
  mayLose(): boolean {
    const isRare = this.time.now() - this.#lossAtMs > 2 * TTL_MS
    if (isRare) this.#lossAtMs = this.time.now()
    return isRare
  }

  /** Lives that run and have not said goodbye, by name. */
  liveNames(): Set<string> {
    const live = this.everyLife.filter(({ isServing }) => isServing)
    return new Set(live.map(({ record }) => `${record.id}/${record.incarnation}`))
  }

  /** Their ids. */
  live(): Set<string> {
    return new Set(this.everyLife.filter(({ isServing }) => isServing).map(({ record }) => record.id))
  }

  async close(): Promise<void> {
    for (const instance of this.everyLife) instance.process.kill()
    for (const gateway of this.gateways) gateway.close()
    await this.store.close()
  }
}

function numberOf(id: string): number {
  return Number(id.slice(1))
}

export function pick<T>(values: readonly T[], random: Random): T | undefined {
  return values[Math.floor(random() * values.length)]
}
