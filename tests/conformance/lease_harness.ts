import type { Instance, LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import { eventually } from './expectations.ts'

/** One store for one case, with what only its runtime's test file can do to it. */
export interface LeaseHarness {
  readonly store: LeaseStore
  /** Another client of the same data; the same one where the data is bound to one client. */
  readonly other: LeaseStore
  /** A lease short enough to wait for its end. */
  shortTtlMs: number
  /** Lets the store's clock go on. */
  elapse(ms: number): Promise<void>
  /** Loses all data, as a Redis restarted empty does. `store` and `other` are ready again afterwards. */
  wipe(): Promise<void>
  close(): Promise<void>
}

export type LeaseCases = Record<string, (harness: LeaseHarness) => Promise<void>>

/** A lease that does not end during a test. */
export const LONG_MS = 60_000

export function instance(fields: Partial<Instance> = {}): Instance {
  return {
    id: 'a',
    service: 'demo.Hello',
    version: '1.2.3',
    group: 'default',
    address: { kind: 'url', url: 'https://hello.example/rpc' },
    incarnation: 'first',
    ttlMs: LONG_MS,
    weight: 1,
    zone: 'north',
    ...fields,
  }
}

export async function table(store: LeaseStore, service = 'demo.Hello'): Promise<LeasedInstance[]> {
  const listing = await store.list(service)
  if ('unchanged' in listing) throw new Error('A listing that asked about no revision must hold the table')
  return listing.instances
}

export async function ids(store: LeaseStore, service = 'demo.Hello'): Promise<string[]> {
  return (await table(store, service)).map((entry) => entry.id)
}

export async function revision(store: LeaseStore, service = 'demo.Hello'): Promise<number> {
  return (await store.list(service)).revision
}

/** Registers under a short lease and sees it listed. A machine that stalls may miss it, so it tries again. */
export async function seeBriefly({ store, shortTtlMs }: LeaseHarness, fields: Partial<Instance>): Promise<number> {
  for (let tries = 0; tries < 20; tries++) {
    // Longer each time: on a busy machine it may be over before it is seen.
    const brief = instance({ ...fields, ttlMs: shortTtlMs * (1 + tries) })
    await store.renew([brief])
    const listing = await store.list(brief.service)
    if ('instances' in listing && listing.instances.some((entry) => entry.id === brief.id)) return listing.revision
  }
  throw new Error('A registered instance must be listed before its lease ends')
}

export const gone = (harness: LeaseHarness, id: string) =>
  eventually(async () => !(await ids(harness.store)).includes(id), harness.elapse)
