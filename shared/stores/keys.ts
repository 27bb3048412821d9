import { constantTimeEqual, encodeUtf8, sha256Hex, toHex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { RpcError } from '../wire/errors.ts'

/** What a key may do. `call`: use models and functions. `worker`: enrol workers. `service`: register functions. `admin`: all. */
export const SCOPES = ['call', 'worker', 'service', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

/** A key at rest: its secret is only kept as a hash. */
export interface KeyRecord {
  id: string
  sha256: string
  scopes: readonly Scope[]
  createdAt: string
}

/** Where keys are kept: a file on a host, an environment variable on Cloudflare. */
export interface KeySource {
  load(): Promise<readonly KeyRecord[]>
}

const KEY = /^shoal_([0-9a-f]{12})_([0-9a-f]{64})$/

/** Makes a key of 256 random bits. The text is shown once; only the record is kept. */
export async function createKey(scopes: readonly Scope[], clock: Clock): Promise<{ text: string; record: KeyRecord }> {
  const id = toHex(crypto.getRandomValues(new Uint8Array(6)))
  const secret = toHex(crypto.getRandomValues(new Uint8Array(32)))
  const createdAt = new Date(clock.now()).toISOString()
  return {
    text: `shoal_${id}_${secret}`,
    record: { id, sha256: await sha256Hex(encodeUtf8(secret)), scopes, createdAt },
  }
}

/** How soon an unknown id makes the ring read its source again: a new key works soon, a flood of bad ones costs little. */
const RELOAD_MS = 1_000

/** Checks keys against their hashes. */
export class KeyRing {
  readonly #source: KeySource
  readonly #clock: Clock
  #records: ReadonlyMap<string, KeyRecord> = new Map()
  #loadedAtMs = -Infinity

  constructor(source: KeySource, clock: Clock) {
    this.#source = source
    this.#clock = clock
  }

  /** True if no key exists. */
  async empty(): Promise<boolean> {
    await this.#reload()
    return this.#records.size === 0
  }

  /**
   * Admits an `Authorization` header to a scope.
   * @returns the key's id
   * @throws RpcError `unauthenticated` for no key or a wrong one, `permission_denied` for a key of another scope
   */
  async admit(authorization: string | null, scope: Scope): Promise<string> {
    const text = /^Bearer (.+)$/i.exec(authorization ?? '')?.[1] ?? ''
    const [, id = '', secret = ''] = KEY.exec(text) ?? []
    if (!this.#records.has(id)) await this.#reload()
    const record = this.#records.get(id)
    // Hashed and compared even for an unknown id, so that the time taken does not tell which ids exist.
    const matches = constantTimeEqual(await sha256Hex(encodeUtf8(secret)), record?.sha256 ?? '0'.repeat(64))
    if (!record || !matches) {
      throw new RpcError(
        'unauthenticated',
        'Cannot accept the request: a valid API key is required (Authorization: Bearer shoal_…)',
      )
    }
    if (!record.scopes.includes(scope) && !record.scopes.includes('admin')) {
      throw new RpcError(
        'permission_denied',
        `Cannot accept the request: a key with scope "${scope}" is required, got ${record.scopes.join(', ')}`,
      )
    }
    return id
  }

  async #reload(): Promise<void> {
    if (this.#clock.now() - this.#loadedAtMs < RELOAD_MS) return
    this.#loadedAtMs = this.#clock.now()
    this.#records = new Map((await this.#source.load()).map((record) => [record.id, record]))
  }
}

/** Reads key records from JSON text, as a file or an environment variable holds them. */
export function parseKeys(json: string): KeyRecord[] {
  const parsed: unknown = JSON.parse(json)
  const valid = Array.isArray(parsed) &&
    parsed.every((one) =>
      typeof one?.id === 'string' && typeof one?.sha256 === 'string' && Array.isArray(one?.scopes) &&
      one.scopes.every((scope: Scope) => SCOPES.includes(scope))
    )
  if (!valid) {
    throw new RpcError(
      'failed_precondition',
      'Cannot read the keys: expected a JSON list of {id, sha256, scopes, createdAt}',
    )
  }
  return parsed as KeyRecord[]
}
