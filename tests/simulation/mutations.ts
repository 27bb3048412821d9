import { DEFAULTS } from '../../shared/base/defaults.ts'
import { RetryBudget } from '../../shared/routing/retry_budget.ts'
import { isSuspect, type LeasedInstance } from '../../shared/stores/lease_store.ts'
import { Preservation } from '../../shared/stores/sqlite_preservation.ts'
import { FRAME_TYPES } from '../../shared/wire/frame.ts'
import { type Parts, REAL } from './parts.ts'

/** A mistake that somebody could make in the real parts, and the rule that the simulator must find broken. */
export interface Mutation {
  breaks: string
  parts?: Partial<Parts>
  /** Changes a part in place. @returns undoes it */
  patch?(): () => void
}

export const MUTATIONS: Record<string, Mutation> = {
  'calls with effects are retried too': {
    breaks: 'a write is done at most once',
    parts: { route: (send) => (request) => send({ ...request, idempotent: true }) },
  },
  'retries need no budget': {
    breaks: 'retries stay within a fifth of the calls',
    patch: () => replace(RetryBudget.prototype, 'withdraw', () => true),
  },
  'a store that does not answer empties the table': {
    breaks: 'a healthy majority is never emptied',
    parts: {
      reading: (leases) => ({
        list: (...args) => leases.list(...args).catch(() => ({ revision: 1, instances: [] })),
      }),
    },
  },
  'all whose lease is over are evicted at once': {
    breaks: 'a healthy majority is never emptied',
    patch: () => replace(DEFAULTS as { leaseRenewalShare: number }, 'leaseRenewalShare', 0),
  },
  'a store that went back names no revision but its latest': {
    breaks: 'a healthy majority is never emptied',
    parts: {
      reading: (leases) => ({
        list: async (...args) => {
          const listing = await leases.list(...args)
          return 'unchanged' in listing ? listing : { ...listing, recent: [] }
        },
      }),
    },
  },
  'holds end by a clock that leaps': {
    breaks: 'a healthy majority is never emptied',
    patch: () => replace(Preservation.prototype, 'look', () => {}),
  },
  'suspects are never called, not even if all are': {
    breaks: 'a healthy majority is never emptied',
    parts: { eligible: (listed) => listed.filter((instance) => !isSuspect(instance)) },
  },
  'suspects and the ejected are half of all each': {
    breaks: 'a healthy majority is offered',
    parts: { eligible: upToHalfSuspect },
  },
  'ejection knows no most': {
    breaks: 'a healthy majority is offered',
    patch: () => replace(DEFAULTS as { ejectionMaxShare: number }, 'ejectionMaxShare', 1),
  },
  'ejections last too long': {
    breaks: 'a healthy majority is offered',
    patch: () => replace(DEFAULTS as { ejectionBaseMs: number }, 'ejectionBaseMs', 60_000),
  },
  'a gateway forgets nobody': {
    breaks: 'no call to who is gone',
    parts: {
      reading(leases) {
        const known = new Map<string, LeasedInstance>()
        return {
          async list(service) {
            const listing = await leases.list(service)
            if ('unchanged' in listing) return listing
            for (const instance of listing.instances) known.set(instance.id, { ...instance, ageMs: 0 })
            return { ...listing, instances: [...known.values()] }
          },
        }
      },
    },
  },
  'a goodbye is not heeded': {
    breaks: 'who has left is not called',
    parts: {
      reading(leases) {
        let before: readonly LeasedInstance[] = []
        return {
          // Every second table is an old one.
          async list(service) {
            const listing = await leases.list(service)
            if ('unchanged' in listing) return listing
            const missing = before.filter(({ id }) => !listing.instances.some((one) => one.id === id))
            before = [...listing.instances, ...missing].slice(0, 8)
            return { ...listing, instances: [...listing.instances, ...missing] }
          },
        }
      },
    },
  },
  'lives that are over may go on': {
    breaks: 'an older life is refused',
    parts: { renewing: (renew) => async (instances) => (await renew(instances), []) },
  },
  'the revision stands still when somebody comes or goes': {
    breaks: 'one revision, one table',
    parts: {
      reading(leases) {
        let revision = 0
        return {
          async list(service) {
            const listing = await leases.list(service)
            return { ...listing, revision: revision ||= listing.revision }
          },
        }
      },
    },
  },
  'a reader is told of no change': {
    breaks: 'in peace the table is true',
    parts: {
      reading: (leases) => ({
        list: async (service, since) =>
          since ? { revision: since, unchanged: true } : await leases.list(service, since),
      }),
    },
  },
  'an instance stops beating when the store fails once': {
    breaks: 'in peace the table is true',
    parts: {
      announcing(leases) {
        let hasFailed = false
        return {
          leave: (...args) => leases.leave(...args),
          renew: (instances) =>
            hasFailed ? Promise.resolve([]) : leases.renew(instances).catch((thrown) => {
              hasFailed = true
              throw thrown
            }),
        }
      },
    },
  },
  'an answer is written twice': {
    breaks: 'no call is answered twice',
    parts: {
      answer: (write) => (message) => {
        write(message)
        if (message[2] === FRAME_TYPES.response) write(message)
      },
    },
  },
  'answers are given to whoever waits': {
    breaks: 'an answer is of its call',
    parts: {
      route(send) {
        let last: Awaited<ReturnType<typeof send>> | undefined
        return async (request) => {
          const response = await send(request)
          const given = last ?? response
          last = response
          return given
        }
      },
    },
  },
  'nothing is tried twice': {
    breaks: 'no read fails when one instance dies',
    patch: () => replace(RetryBudget.prototype, 'withdraw', () => false),
  },
}

/** The real parts with one mistake in them, for as long as `work` takes. */
export async function withMutation<T>({ parts, patch }: Mutation, work: (parts: Parts) => Promise<T>): Promise<T> {
  const undo = patch?.()
  try {
    return await work({ ...REAL, ...parts })
  } finally {
    undo?.()
  }
}

/** Leaves suspects out before the ejected are: of what is left, half may be ejected yet. */
function upToHalfSuspect(listed: readonly LeasedInstance[]): readonly LeasedInstance[] {
  const sound = listed.filter((instance) => !isSuspect(instance))
  return sound.length * 2 < listed.length ? listed : sound
}

function replace<T, K extends keyof T>(target: T, name: K, value: T[K]): () => void {
  const before = target[name]
  target[name] = value
  return () => void (target[name] = before)
}
