import { describe, expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { createKey, type KeyRecord, KeyRing, parseKeys, type Scope, SCOPES } from '../../../shared/stores/keys.ts'
import { RpcError } from '../../../shared/wire/errors.ts'

const { keyReloadMs, keyRefreshMs } = DEFAULTS

/** A ring over a source that the test changes. */
function open(records: KeyRecord[] = []) {
  const clock = new FakeClock()
  const logged: string[] = []
  const source = { records, loads: 0, broken: false, held: undefined as Promise<void> | undefined }
  const ring = new KeyRing(
    {
      async load() {
        source.loads++
        await source.held
        if (source.broken) throw new SyntaxError('Unexpected token in keys.json')
        return source.records
      },
    },
    clock,
    (level, message) => void logged.push(`${level}: ${message}`),
  )
  const admit = (text: string | null, scope: Scope = 'call') =>
    ring.admit(text, scope).catch((error) => error instanceof RpcError ? error.code : String(error))
  return { clock, source, ring, admit, logged }
}

async function keyFor(...scopes: Scope[]) {
  const { text, record } = await createKey(scopes, new FakeClock())
  return { header: `Bearer ${text}`, text, record }
}

describe('API keys', () => {
  it('are 256 random bits, kept as a hash', async () => {
    const { text, record } = await createKey(['call'], { now: () => 0, after: () => () => {} })
    const [, id, secret] = /^shoal_([0-9a-f]{12})_([0-9a-f]{64})$/.exec(text) ?? []
    expect(record).toEqual({ id, sha256: record.sha256, scopes: ['call'], createdAt: '1970-01-01T00:00:00.000Z' })
    expect(JSON.stringify(record)).not.toContain(secret)
    const texts = await Promise.all(Array.from({ length: 20 }, async () => (await keyFor('call')).text))
    expect(new Set(texts).size).toBe(20)
  })

  it('admit to their scopes, and admin to all', async () => {
    for (const given of SCOPES) {
      const key = await keyFor(given)
      const { admit } = open([key.record])
      for (const asked of SCOPES) {
        const admitted = given === asked || given === 'admin'
        expect(await admit(key.header, asked), `${given} for ${asked}`).toBe(
          admitted ? key.record.id : 'permission_denied',
        )
      }
    }
    const [none, two] = [await keyFor(), await keyFor('call', 'worker')]
    const { admit } = open([none.record, two.record])
    expect(await admit(none.header)).toBe('permission_denied')
    expect(await admit(two.header, 'worker')).toBe(two.record.id)
    expect(await admit(two.header, 'service')).toBe('permission_denied')
  })

  it('are refused in one way, whatever is wrong with them', async () => {
    const [key, other] = [await keyFor('admin'), await keyFor('admin')]
    const { ring } = open([key.record])
    const wrongSecret = `Bearer shoal_${key.record.id}_${other.text.slice(-64)}`
    const headers = [
      ...[null, '', 'Bearer', 'Bearer ', `Basic ${key.text}`, key.text, `Bearer  ${key.text}`, `Bearer ${key.text} `],
      ...[
        other.header,
        wrongSecret,
        key.header.toUpperCase(),
        `${key.header}00`,
        'Bearer shoal__',
        `Bearer ${'x'.repeat(1e5)}`,
      ],
      `Bearer shoal_${key.record.id}_${'0'.repeat(64)}`,
      `Bearer shoal_${'0'.repeat(12)}_${'0'.repeat(64)}`,
    ]
    const messages = new Set<string>()
    for (const header of headers) {
      const error = await ring.admit(header, 'call').catch((thrown) => thrown)
      expect(error.code, String(header).slice(0, 80)).toBe('unauthenticated')
      messages.add(error.message)
    }
    expect(messages.size).toBe(1)
  })

  it('take the scheme in any case', async () => {
    const key = await keyFor('call')
    const { admit } = open([key.record])
    expect(await admit(`bEARER ${key.text}`)).toBe(key.record.id)
  })

  it('that are unknown take the same path as those with a wrong secret', async () => {
    const [key, other] = [await keyFor('call'), await keyFor('call')]
    const wrong = { id: other.header, secret: `Bearer shoal_${key.record.id}_${other.text.slice(-64)}` }
    for (const header of Object.values(wrong)) {
      const { admit, source, clock } = open([key.record])
      await admit(key.header)
      await clock.advance(keyReloadMs)
      expect(await admit(header)).toBe('unauthenticated')
      expect(source.loads).toBe(2)
    }
  })

  it('work soon after they are made, while a flood of bad ones reads the source once a second', async () => {
    const [old, fresh] = [await keyFor('call'), await keyFor('call')]
    const { admit, source, clock } = open([old.record])
    expect(await admit(old.header)).toBe(old.record.id)
    source.records = [old.record, fresh.record]
    await clock.advance(keyReloadMs)
    expect(await admit(fresh.header)).toBe(fresh.record.id)
    const before = source.loads
    for (let i = 0; i < 1_000; i++) await admit('Bearer nonsense')
    expect(source.loads - before).toBe(0)
    await clock.advance(keyReloadMs)
    for (let i = 0; i < 1_000; i++) await admit('Bearer nonsense')
    expect(source.loads - before).toBe(1)
  })

  it('stop working soon after they are removed', async () => {
    const key = await keyFor('call')
    const { admit, source, clock } = open([key.record])
    expect(await admit(key.header)).toBe(key.record.id)
    source.records = []
    await clock.advance(keyRefreshMs)
    expect(await admit(key.header)).toBe('unauthenticated')
  })

  it('change their secret under the same id', async () => {
    const [before, after] = [await keyFor('call'), await keyFor('call')]
    const { admit, source, clock } = open([before.record])
    await admit(before.header)
    source.records = [{ ...before.record, sha256: after.record.sha256 }]
    await clock.advance(keyReloadMs)
    expect(await admit(`Bearer shoal_${before.record.id}_${after.text.slice(-64)}`)).toBe(before.record.id)
    expect(await admit(before.header)).toBe('unauthenticated')
  })

  it('are read once for all who come while they are being read', async () => {
    const key = await keyFor('call')
    const { admit, source } = open([key.record])
    const held = Promise.withResolvers<void>()
    source.held = held.promise
    const admitted = Array.from({ length: 10 }, () => admit(key.header))
    await new Promise((resolve) => setTimeout(resolve, 5))
    held.resolve()
    expect(await Promise.all(admitted)).toEqual(new Array(10).fill(key.record.id))
    expect(source.loads).toBe(1)
  })

  it('stay in force while their source cannot be read, and that is logged', async () => {
    const key = await keyFor('call')
    const { admit, source, clock, logged } = open([key.record])
    await admit(key.header)
    source.broken = true
    await clock.advance(keyRefreshMs)
    expect(await admit(key.header)).toBe(key.record.id)
    expect(await admit('Bearer nonsense')).toBe('unauthenticated')
    expect(logged).toContain('error: keys cannot be read')
  })

  it('that were never read admit nobody, and are tried again within a second', async () => {
    const key = await keyFor('call')
    const { admit, source, clock, ring } = open([key.record])
    source.broken = true
    expect(await admit(key.header)).toBe('unavailable')
    await expect(ring.empty()).rejects.toThrow('the API keys cannot be read')
    expect(source.loads).toBe(1)
    source.broken = false
    await clock.advance(keyReloadMs)
    expect(await admit(key.header)).toBe(key.record.id)
  })

  it('tell whether there are any', async () => {
    const key = await keyFor('call')
    expect(await open().ring.empty()).toBe(true)
    expect(await open([key.record]).ring.empty()).toBe(false)
  })
})

describe('parseKeys', () => {
  const good = { id: 'a'.repeat(12), sha256: 'b'.repeat(64), scopes: ['call'], createdAt: '2026-01-01T00:00:00.000Z' }

  it('reads what createKey makes', async () => {
    const records = [(await keyFor('call')).record, (await keyFor('admin', 'worker')).record]
    expect(parseKeys(JSON.stringify(records, undefined, 2))).toEqual(records)
    expect(parseKeys('[]')).toEqual([])
  })

  it('keeps the fields of a record and no others', () => {
    expect(parseKeys(JSON.stringify([{ ...good, note: 'laptop' }]))).toEqual([good])
    const { createdAt: _, ...undated } = good
    expect(parseKeys(JSON.stringify([undated]))).toEqual([{ ...good, createdAt: '' }])
  })

  it('refuses anything else, saying where', () => {
    const cases: [string, string][] = [
      ['', 'must be JSON'],
      ['{', 'must be JSON'],
      ['null', 'expected a JSON list'],
      ['{}', 'expected a JSON list'],
      ['[null]', 'at "0"'],
      ['["shoal_…"]', 'at "0"'],
      [JSON.stringify([good, { ...good, id: 'short' }]), 'at "1.id"'],
      [JSON.stringify([{ ...good, id: '__proto__' }]), 'at "0.id"'],
      [JSON.stringify([{ ...good, sha256: 'B'.repeat(64) }]), 'at "0.sha256"'],
      [JSON.stringify([{ ...good, sha256: 'b'.repeat(63) }]), 'at "0.sha256"'],
      [JSON.stringify([{ ...good, scopes: ['root'] }]), 'at "0.scopes.0"'],
      [JSON.stringify([{ ...good, scopes: 'admin' }]), 'at "0.scopes"'],
      [JSON.stringify([{ ...good, createdAt: 5 }]), 'at "0.createdAt"'],
      [JSON.stringify([good, good]), 'stands there twice'],
    ]
    for (const [text, message] of cases) {
      try {
        parseKeys(text)
        expect.unreachable(text)
      } catch (error) {
        expect(error, text).toBeInstanceOf(RpcError)
        expect((error as RpcError).code).toBe('failed_precondition')
        expect((error as RpcError).message, text).toContain(message)
      }
    }
  })
})
