import { LIMITS } from '../../../shared/base/limits.ts'
import type { Instance } from '../../../shared/stores/lease_store.ts'

/** A registration for tests that care about little of it. */
export function instance(fields: Partial<Instance> = {}): Instance {
  return {
    id: 'a',
    service: 'demo.Hello',
    version: '1.0.0',
    group: 'default',
    address: { kind: 'url', url: 'https://hello.example/rpc' },
    incarnation: 'first',
    ttlMs: 60_000,
    weight: 1,
    zone: 'north',
    ...fields,
  }
}

/** Enough others that beat: one instance that falls silent beside them is evicted, not held back. */
export const PEERS: readonly Instance[] = Array.from(
  { length: 9 },
  (_, i) => instance({ id: `peer-${i}`, ttlMs: LIMITS.maxLeaseMs }),
)
