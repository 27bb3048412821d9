import { LIMITS } from '../base/limits.ts'
import { invalid } from '../wire/errors.ts'
import type { Instance, LeasedInstance } from './lease_store.ts'

/** An instance as the stores keep it: the columns they look at, and the whole as text. */
export interface LeaseRow {
  instance: Instance
  /** JSON with its fields in a fixed order, so that equal text means nothing visible changed. */
  record: string
}

/**
 * Checks a batch and sorts it by service, each instance in its order.
 * @throws RpcError `invalid_argument`
 */
export function rowsByService(instances: readonly Instance[]): Map<string, LeaseRow[]> {
  if (instances.length > LIMITS.maxLeaseBatch) {
    throw invalid(`Cannot renew leases: at most ${LIMITS.maxLeaseBatch} at a time, got ${instances.length}`)
  }
  const groups = new Map<string, LeaseRow[]>()
  for (const instance of instances) {
    const row = { instance, record: encodeRecord(instance) }
    const group = groups.get(instance.service)
    if (group) group.push(row)
    else groups.set(instance.service, [row])
  }
  return groups
}

function encodeRecord(instance: Instance): string {
  const { id, service, version, group, address, incarnation, ttlMs, weight, zone, owner } = instance
  checkName('service', service)
  checkName('instance id', id)
  checkName('incarnation', incarnation)
  if (!Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > LIMITS.maxLeaseMs) {
    throw invalid(`Cannot renew a lease: ttlMs must be a whole number from 1 to ${LIMITS.maxLeaseMs}, got ${ttlMs}`)
  }
  if (!(weight >= 0 && weight < Infinity)) {
    throw invalid(`Cannot renew a lease: weight must be a number not below 0, got ${weight}`)
  }
  const where = address.kind === 'url'
    ? { kind: address.kind, url: address.url, ...(address.sockets && { sockets: true }) }
    : { kind: address.kind, name: address.name }
  const record = JSON.stringify({
    id,
    service,
    version,
    group,
    address: where,
    incarnation,
    ttlMs,
    weight,
    zone,
    owner,
  })
  if (record.length > LIMITS.maxLeaseRecordLength) {
    throw invalid(
      `Cannot renew a lease: its record must have at most ${LIMITS.maxLeaseRecordLength} characters, got ${record.length}`,
    )
  }
  return record
}

/** The instance of a record whose lease ends at `endsAtMs`, seen at `nowMs`, both by the store's clock. */
export function decodeRecord(record: string, endsAtMs: number, nowMs: number): LeasedInstance {
  const instance = JSON.parse(record) as Instance
  return { ...instance, ageMs: Math.max(0, nowMs - (endsAtMs - instance.ttlMs)) }
}

export function byId(left: { id: string }, right: { id: string }): number {
  return left.id < right.id ? -1 : left.id > right.id ? 1 : 0
}

/**
 * Checks text that becomes a key. Lone surrogates would fall together as U+FFFD in UTF-8, and SQLite's bindings do not
 * agree on what follows a NUL; either would let two names be one.
 * @throws RpcError `invalid_argument`
 */
export function checkName(what: string, name: string): void {
  if (name.length === 0 || name.length > LIMITS.maxNameLength) {
    throw invalid(`Cannot use this ${what}: it must have 1 to ${LIMITS.maxNameLength} characters, got ${name.length}`)
  }
  if (!name.isWellFormed() || name.includes('\0')) {
    throw invalid(`Cannot use this ${what}: it must be Unicode text without NUL, got ${JSON.stringify(name)}`)
  }
}
