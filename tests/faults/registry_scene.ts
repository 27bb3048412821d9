import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import type { LocalRedis } from '../../infra/local_redis.ts'
import type { Listing } from '../../shared/stores/lease_store.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { eventually, realTime } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { ROOT, type Running, startCli, startProcess } from '../fixtures/process.ts'
import type { InstanceSettings } from './instance.ts'
import { Who } from './who.ts'

/** Shorter than in earnest (15 s), so that an outage of a few seconds is longer than a lease as one of 30 s would be. */
export const LEASE_MS = 3_000

/** The lease is LEASE_MS by default. */
export type SceneInstance = Omit<InstanceSettings, 'ttlMs'> & { ttlMs?: number }

/** A gateway and instances, each in a process of its own, over a real Redis. All are ended with the scope. */
export class RegistryScene implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'shoal-faults-'))
  readonly #processes: Running[] = []
  url = ''

  /** @param env names the store, as for `shoal start` */
  static async open(
    env: Record<string, string>,
    instances: readonly SceneInstance[],
  ): Promise<RegistryScene> {
    const scene = new RegistryScene()
    try {
      await Promise.all([scene.#startGateway(env), ...instances.map((settings) => scene.start(settings))])
      await eventually(async () => (await scene.listed()).length === instances.length)
      // A first call, so that the gateway holds the table.
      if (instances.length > 0) await eventually(async () => (await scene.call()).ok)
      return scene
    } catch (thrown) {
      await scene[Symbol.asyncDispose]()
      throw thrown
    }
  }

  /** Starts an instance and waits until it has registered. */
  async start(
    settings: Omit<InstanceSettings, 'ttlMs'> & { ttlMs?: number },
  ): Promise<{ running: Running; port: number }> {
    const full: InstanceSettings = { ttlMs: LEASE_MS, ...settings }
    const program = join(ROOT, 'tests/faults/instance.ts')
    const running = this.#keep(startProcess(process.execPath, [program, JSON.stringify(full)]))
    return { running, port: Number((await running.wrote(/instance ready (\d+)/))[1]) }
  }

  /** The gateway's process. */
  get gateway(): Running {
    const [gateway] = this.#processes
    if (!gateway) throw new Error('Cannot find the gateway: it must have been started')
    return gateway
  }

  /** All that its processes wrote. */
  written(): string {
    return this.#processes.map((running) => running.output()).join('\n')
  }

  /** @param added headers beside the usual */
  async call(added?: Record<string, string>): Promise<Call> {
    const startedAtMs = performance.now()
    const path = `/rpc/${Who.name}/who`
    const headers = { 'shoal-idempotent': '1', 'connect-timeout-ms': '5000', ...added }
    const { status, json } = await ask(this.url, 'POST', path, { json: {}, headers }).catch((thrown) => ({
      status: 0,
      json: { message: String(thrown) },
    }))
    const error = status === 200 ? undefined : `${status} ${json?.message}`
    return { ok: status === 200, id: json?.id, ms: performance.now() - startedAtMs, error }
  }

  /** Ids as the gateway lists them: what the store says, and what the gateway knows while it is away. */
  async listed(): Promise<string[]> {
    const { json } = await ask(this.url, 'GET', `/registry/services/${Who.name}`)
    return (json?.instances ?? []).map(({ id }: { id: string }) => id)
  }

  /** A gauge or counter of the gateway. */
  async metric(name: string): Promise<number> {
    const { text } = await ask(this.url, 'GET', '/metrics')
    const line = text.split('\n').find((each) => each.startsWith(`${name} `))
    return Number(line?.slice(name.length + 1) ?? 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#processes) running.signal('SIGKILL')
    await Promise.allSettled(this.#processes.map(({ ended }) => ended))
    rmSync(this.folder, { recursive: true, force: true })
  }

  async #startGateway(env: Record<string, string>): Promise<void> {
    const args = ['start', '--port', '0', '--workers', '0', '--no-demo', '--data-dir', join(this.folder, 'data')]
    const gateway = startCli(args, { env })
    this.#processes.unshift(gateway)
    this.url = (await gateway.wrote(/^shoal ready (http:\S+)$/m))[1] ?? ''
  }

  #keep(running: Running): Running {
    this.#processes.push(running)
    return running
  }
}

export interface Call {
  ok: boolean
  id: string | undefined
  ms: number
  error: string | undefined
}

/** Idempotent calls at a steady rate, whether or not they are answered, until stopped. */
export class Load {
  readonly calls: Call[] = []
  /** The most calls that were under way together. */
  mostAtOnce = 0
  readonly #pending = new Set<Promise<void>>()
  readonly #timer: ReturnType<typeof setInterval>

  /** @param headers of each call, beside the usual */
  constructor(scene: RegistryScene, perSecond = 40, headers?: Record<string, string>) {
    this.#timer = setInterval(() => {
      const call: Promise<void> = scene.call(headers).then((done) => {
        this.calls.push(done)
        this.#pending.delete(call)
      })
      this.#pending.add(call)
      this.mostAtOnce = Math.max(this.mostAtOnce, this.#pending.size)
    }, 1000 / perSecond)
  }

  /** Calls that ended from now on for so long. */
  async during(ms: number): Promise<Call[]> {
    const from = this.calls.length
    await realTime(ms)
    return this.calls.slice(from)
  }

  /** Ends the load, and gives all calls once all are answered. */
  async stop(): Promise<Call[]> {
    clearInterval(this.#timer)
    await Promise.all(this.#pending)
    return this.calls
  }
}

/** Those that failed, by what they were told. */
export const failures = (calls: readonly Call[]): string[] => calls.flatMap(({ error }) => error ?? [])

export function percentileMs(calls: readonly Call[], share: number): number {
  const sorted = calls.map(({ ms }) => ms).sort((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN)
}

/** The table of demo.Who as Redis has it, whatever gateways make of it. */
export async function tableIn(redis: LocalRedis): Promise<Extract<Listing, { instances: unknown }>['instances']> {
  const client = tcpRedis(redis.url)
  try {
    const listing = await redisLeases(client).list(Who.name)
    return 'instances' in listing ? listing.instances : []
  } finally {
    await client.quit()
  }
}
