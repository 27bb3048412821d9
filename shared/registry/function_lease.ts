import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { ServiceContract } from '../rpc/contract.ts'
import { readHttpError } from '../rpc/http.ts'
import { invalid, RpcError } from '../wire/errors.ts'

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
    if (this.#left || this.#clock.now() < this.#dueAtMs || !isGiven(this.#settings, env)) return
    // Moved before the request, so that calls arriving meanwhile do not send their own.
    this.#dueAtMs = this.#clock.now() + DEFAULTS.functionRenewMs
    try {
      const record = this.#record(env)
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
    if (!isGiven(this.#settings, env)) return false
    try {
      const { id, service, incarnation } = this.#record(env)
      const query = new URLSearchParams({ service, incarnation })
      await this.#send(env, 'DELETE', `/${encodeURIComponent(id)}?${query}`)
    } catch (thrown) {
      this.failure = RpcError.from(thrown)
    }
    return true
  }

  #record(env: Env) {
    const { name, version } = this.#contract
    const url = checkUrl('SHOAL_URL', this.#settings.url ?? textOf(env.SHOAL_URL))
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
    const gateway = checkUrl('SHOAL_GATEWAY', this.#settings.gateway ?? textOf(env.SHOAL_GATEWAY)).replace(/\/+$/, '')
    const key = this.#settings.key ?? textOf(env.SHOAL_KEY)
    const response = await fetch(`${gateway}/registry/instances${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: 'manual',
      signal: AbortSignal.timeout(DEFAULTS.registerTimeoutMs),
    }).catch((cause) => {
      throw new RpcError('unavailable', `Cannot register at ${gateway}: it does not answer`, { cause })
    })
    if (!response.ok) {
      const { code, message } = await readHttpError(response)
      throw new RpcError(code, `Cannot register at ${gateway}: it says "${message}"`)
    }
    const text = await response.text()
    return text === '' ? {} : JSON.parse(text)
  }
}

/** Whether there is an address to register, and a gateway to do so at. */
function isGiven({ url, gateway }: LeaseSettings, env: Env): boolean {
  return (url ?? textOf(env.SHOAL_URL)) !== undefined && (gateway ?? textOf(env.SHOAL_GATEWAY)) !== undefined
}

function checkUrl(name: string, url = ''): string {
  if (/^https?:/.test(url) && URL.canParse(url)) return url
  throw invalid(`Cannot register: ${name} must be an http(s) URL, got "${url.slice(0, LIMITS.maxNameLength)}"`)
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
