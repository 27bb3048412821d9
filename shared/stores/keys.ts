import * as z from 'zod'
import { constantTimeEqual, encodeUtf8, sha256Hex, toHex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { type Log, silentLog } from '../base/log.ts'
import { wordIssue } from '../base/schema_issue.ts'
import { RpcError } from '../wire/errors.ts'

/**
 * What a key may do. `call`: use models and functions. `worker`: enrol workers. `volunteer`: enrol workers that see public
 * models alone. `service`: register functions. `admin`: all. */
export const SCOPES = ['call', 'worker', 'volunteer', 'service', 'admin'] as const
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

/** Checks keys against their hashes. */
export class KeyRing {
  readonly #source: KeySource
  readonly #clock: Clock
  readonly #log: Log
  #records: ReadonlyMap<string, KeyRecord> | undefined
  #loadedAtMs = -Infinity
  #loading: Promise<void> | undefined

  constructor(source: KeySource, clock: Clock, log: Log = silentLog) {
    this.#source = source
    this.#clock = clock
    this.#log = log
  }

  /** True if no key exists. */
  async empty(): Promise<boolean> {
    await this.#reload(DEFAULTS.keyReloadMs)
    return this.#records?.size === 0
  }

  /**
   * Admits an `Authorization` header to a scope.
   * @returns the key's id
   * @throws RpcError `unauthenticated` for no key or a wrong one, `permission_denied` for a key of another scope,
   *   `unavailable` while the keys have never been read
   */
  async admit(authorization: string | null, scope: Scope): Promise<string> {
    const text = /^Bearer (.+)$/i.exec(authorization ?? '')?.[1] ?? ''
    const [, id = '', secret = ''] = KEY.exec(text) ?? []
    const sha256 = await sha256Hex(encodeUtf8(secret))
    await this.#reload(DEFAULTS.keyRefreshMs)
    let record = this.#find(id, sha256)
    if (!record) {
      // The same for an unknown id as for a wrong secret, so that the time taken does not tell which ids exist.
      await this.#reload(DEFAULTS.keyReloadMs)
      record = this.#find(id, sha256)
    }
    if (!record) {
      throw new RpcError(
        'unauthenticated',
        'Cannot accept the request: a valid API key is required (Authorization: Bearer shoal_…)',
      )
    }
    if (!record.scopes.includes(scope) && !record.scopes.includes('admin')) {
      throw new RpcError(
        'permission_denied',
        `Cannot accept the request: a key with scope "${scope}" is required, got ${record.scopes.join(', ') || 'none'}`,
      )
    }
    return id
  }

  /** Compares even for an unknown id. */
  #find(id: string, sha256: string): KeyRecord | undefined {
    const record = this.#records?.get(id)
    const matches = constantTimeEqual(sha256, record?.sha256 ?? NO_HASH)
    return matches ? record : undefined
  }

  /** Reads the source again if what is known is older than this. One reading at a time, which all wait for. */
  async #reload(maxAgeMs: number): Promise<void> {
    const dueAfterMs = this.#records ? maxAgeMs : DEFAULTS.keyReloadMs
    if (this.#clock.now() - this.#loadedAtMs >= dueAfterMs) {
      this.#loading ??= this.#load().finally(() => this.#loading = undefined)
    }
    await this.#loading
    if (!this.#records) throw new RpcError('unavailable', 'Cannot accept the request: the API keys cannot be read')
  }

  /** A source that cannot be read leaves the last known keys in force. */
  async #load(): Promise<void> {
    try {
      this.#records = new Map((await this.#source.load()).map((record) => [record.id, record]))
    } catch (thrown) {
      this.#log('error', 'keys cannot be read', { reason: String(thrown) })
    } finally {
      this.#loadedAtMs = this.#clock.now()
    }
  }
}

/** What no secret hashes to. */
const NO_HASH = '0'.repeat(64)

/**
 * Reads key records from JSON text, as a file or an environment variable holds them.
 * @throws RpcError `failed_precondition` naming the first record that is no good
 */
export function parseKeys(json: string): KeyRecord[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch (cause) {
    throw new RpcError('failed_precondition', 'Cannot read the keys: they must be JSON, got a text that is not', {
      cause,
    })
  }
  const records = z.array(keyRecord).safeParse(parsed)
  if (!records.success) {
    const wrong = wordIssue(records.error.issues[0])
    throw new RpcError(
      'failed_precondition',
      `Cannot read the keys: expected a JSON list of {id, sha256, scopes, createdAt}, ${wrong}`,
    )
  }
  const ids = new Set<string>()
  for (const { id } of records.data) {
    if (ids.has(id)) throw new RpcError('failed_precondition', `Cannot read the keys: id ${id} stands there twice`)
    ids.add(id)
  }
  return records.data
}

const keyRecord = z.object({
  id: z.string().regex(/^[0-9a-f]{12}$/, 'expected 12 lower-case hex digits'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits'),
  scopes: z.array(z.enum(SCOPES)),
  createdAt: z.string().default(''),
})
