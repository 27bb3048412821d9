import type { Send } from '../../shared/rpc/send.ts'
import type { LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'

/** Where a mutation can get between the real parts. */
export interface Parts {
  /** The store, as gateways read it. */
  reading(leases: Pick<LeaseStore, 'list'>): Pick<LeaseStore, 'list'>
  /** The store itself, as it answers instances. */
  renewing(renew: LeaseStore['renew']): LeaseStore['renew']
  /** The store, as an instance uses it. */
  announcing(leases: Pick<LeaseStore, 'renew' | 'leave'>): Pick<LeaseStore, 'renew' | 'leave'>
  /** What of a table the router is given. */
  eligible(listed: readonly LeasedInstance[]): readonly LeasedInstance[]
  route(send: Send): Send
  /** Writes a message of an instance's to its connection. */
  answer(write: (message: Uint8Array) => void): (message: Uint8Array) => void
}

/** Nothing in between. */
export const REAL: Parts = {
  reading: (leases) => leases,
  renewing: (renew) => renew,
  announcing: (leases) => leases,
  eligible: (listed) => listed,
  route: (send) => send,
  answer: (write) => write,
}
