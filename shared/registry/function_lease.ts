import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { ServiceContract } from '../rpc/contract.ts'
import { RpcError } from '../wire/errors.ts'

export interface LeaseSettings {
  /** The gateway to register at: variable SHOAL_GATEWAY. Without one the function is not registered. */
  gateway?: string
  /** The function's own public address: variable SHOAL_URL. Never taken from a request, whose Host anyone can choose. */
  url?: string
  /** An API key with scope "service": variable SHOAL_KEY. */
  key?: string
  group?: string
  zone?: string
  /** Marks this deployment: variable SHOAL_DEPLOYMENT. All copies of one deployment share it and one lease. */
  deployment?: string
}

type Env = Readonly<Record<string, unknown>>

/**
 * The lease of a serverless function: 180 s, renewed by cron and traffic at most once a minute. Many copies of the
 * function run at once and none lives long, so they share one lease, named by service and address.
 */
export class FunctionLease {
  readonly #contract: ServiceContract
  readonly #settings: LeaseSettings
  readonly #clock: Clock
  #dueAtMs = -Infinity
  #left = false
  /** Set by a process that takes calls over sockets too, so that gateways know when they read the registry. */
  sockets = false
  /** What gateways present when they open a socket; known once registered with `sockets`. */
  token: string | undefined
  /** Why the last renewal failed, if it did. */
  failure: RpcError | undefined

  constructor(contract: ServiceContract, settings: LeaseSettings, clock: Clock) {
    this.#contract = contract
    this.#settings = settings
    this.#clock = clock
  }

  /** Renews the lease if it is due. Never rejects: a function serves whether or not it is registered. */
  async touch(env: Env): Promise<void> {
    if (this.#left || this.#clock.now() < this.#dueAtMs) return
    const record = this.#record(env)
    if (!record) return
    // Moved before the request, so that calls arriving meanwhile do not send their own.
    this.#dueAtMs = this.#clock.now() + DEFAULTS.functionRenewMs
    try {
      const { token } = await this.#send(env, 'PUT', `/${encodeURIComponent(record.id)}/lease`, record)
      if (typeof token === 'string') this.token = token
      this.failure = undefined
    } catch (thrown) {
      this.failure = RpcError.from(thrown)
      this.#dueAtMs = this.#clock.now() + DEFAULTS.functionRetryMs
    }
  }

  /** Gives the lease up for good, where a process knows that it is ending. @returns whether there was one */
  async leave(env: Env): Promise<boolean> {
    this.#left = true
    const record = this.#record(env)
    if (!record) return false
    const query = new URLSearchParams({ service: record.service, incarnation: record.incarnation })
    await this.#send(env, 'DELETE', `/${encodeURIComponent(record.id)}?${query}`).catch((thrown) => {
      this.failure = RpcError.from(thrown)
    })
    return true
  }

  #record(env: Env) {
    const { name, version } = this.#contract
    const url = this.#settings.url ?? textOf(env.SHOAL_URL)
    if (!url || !(this.#settings.gateway ?? textOf(env.SHOAL_GATEWAY))) return undefined
    return {
      id: `${name}@${new URL(url).host}`,
      service: name,
      version,
      group: this.#settings.group ?? 'default',
      zone: this.#settings.zone ?? '',
      url,
      ...(this.sockets && { sockets: true }),
      incarnation: this.#settings.deployment ?? textOf(env.SHOAL_DEPLOYMENT) ?? version,
      ttlMs: DEFAULTS.functionLeaseMs,
    }
  }

  async #send(env: Env, method: 'PUT' | 'DELETE', path: string, body?: unknown): Promise<{ token?: unknown }> {
    const gateway = (this.#settings.gateway ?? textOf(env.SHOAL_GATEWAY) ?? '').replace(/\/+$/, '')
    const key = this.#settings.key ?? textOf(env.SHOAL_KEY)
    const response = await fetch(`${gateway}/registry/instances${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: 'manual',
      signal: AbortSignal.timeout(DEFAULTS.registerTimeoutMs),
    })
    const text = await response.text()
    if (response.ok) return text === '' ? {} : JSON.parse(text)
    const detail = text.slice(0, 300)
    throw new RpcError('unavailable', `Cannot register at ${gateway}: it answered ${response.status} ${detail}`)
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
