import type { LeasedInstance } from '../../../shared/stores/lease_store.ts'

/** A live instance of demo.Hello. */
export function instance(id: string, fields: Partial<LeasedInstance> = {}): LeasedInstance {
  return {
    id,
    service: 'demo.Hello',
    version: '1.0.0',
    group: 'default',
    address: { kind: 'url', url: `https://${id}.example` },
    incarnation: 'first',
    ttlMs: 15_000,
    weight: 1,
    zone: '',
    ageMs: 0,
    ...fields,
  }
}

export function instances(count: number, fields: Partial<LeasedInstance> = {}): LeasedInstance[] {
  return Array.from({ length: count }, (_, i) => instance(`i${i}`, fields))
}
