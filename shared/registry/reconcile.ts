import type { LeasedInstance, Listing } from '../stores/lease_store.ts'

/** What a caller knows of one service. */
export interface Known {
  /** What calls may go to. The same list as before as long as nothing has changed. */
  readonly instances: readonly LeasedInstance[]
  /** The store's latest revision; undefined before the first table. */
  readonly revision: number | undefined
  /** Whether the table must be read again though it may not have changed. */
  readonly mustRead: boolean
  readonly bornAtMs: number | undefined
  /** The store's time when it read the table. */
  readonly readAtMs: number | undefined
  /** When the question was asked that this answers. */
  readonly confirmedAtMs: number
  /** Instances that the store has forgotten, by id: how long they are kept for. */
  readonly keptUntilMs: ReadonlyMap<string, number>
}

/** Rounding, by the store and by clocks. */
const TOLERANCE_MS = 100

/**
 * What is known after the store's answer. As a rule that is what the answer says, with two exceptions, since a store may
 * lose its data or go back to an old snapshot:
 * - Of a store that has lost data (see hasLostSince) what is missing in its table may only be
 *   forgotten. It is kept for the length of its lease: by then it has beaten again, or is gone.
 * - An instance that was not listed at the last look must have beaten since. One that has not is a thing of the past: it
 *   is left out until it beats, unless there is no other.
 * @param askedAtMs, answeredAtMs by the caller's clock
 */
export function reconcile(
  known: Known | undefined,
  listing: Listing,
  { askedAtMs, answeredAtMs }: { askedAtMs: number; answeredAtMs: number },
): Known {
  if ('unchanged' in listing) {
    const before = known ?? nothing(askedAtMs)
    return before.keptUntilMs.size === 0 ? { ...before, confirmedAtMs: askedAtMs } : withoutOverdue(before, askedAtMs)
  }
  const { revision, bornAtMs, readAtMs, instances: listed } = listing
  if (!known) return { ...nothing(askedAtMs), instances: listed, revision, bornAtMs, readAtMs, mustRead: false }

  const hasLost = hasLostSince(known, listing)
  const listedIds = new Set(listed.map(({ id }) => id))
  const keptUntilMs = new Map<string, number>()
  const kept = known.instances.filter(({ id, ttlMs }) => {
    const untilMs = known.keptUntilMs.get(id) ?? (hasLost ? askedAtMs + ttlMs : 0)
    const isKept = untilMs > askedAtMs && !listedIds.has(id)
    if (isKept) keptUntilMs.set(id, untilMs)
    return isKept
  })

  const knownIds = new Set(known.instances.map(({ id }) => id))
  // By the store's clock, which told the ages, though it may have leapt since; one that went back tells nothing.
  const byStoreMs = (readAtMs ?? 0) - (known.readAtMs ?? Infinity)
  const sinceLastLookMs = Math.max(byStoreMs, answeredAtMs - known.confirmedAtMs) + TOLERANCE_MS
  const believed = listed.filter(({ id, ageMs }) => knownIds.has(id) || ageMs <= sinceLastLookMs)
  const isWhole = believed.length === listed.length || believed.length + kept.length === 0
  return {
    instances: isWhole && kept.length === 0 ? listed : [...believed, ...kept],
    revision,
    // Its beat will not raise the revision, so the table is read until it has come.
    mustRead: !isWhole,
    bornAtMs,
    readAtMs,
    confirmedAtMs: askedAtMs,
    keptUntilMs,
  }
}

/**
 * Whether a store has lost data since: it was born since, or its revision went back, or the one it gave out is not among
 * those it gave out of late. Its revision may have risen past that one again by the first beat after the loss.
 */
function hasLostSince(known: Known, { revision, bornAtMs, recent = [] }: Table): boolean {
  if (bornAtMs !== known.bornAtMs) return true
  if (known.revision === undefined) return false
  const [oldest = Infinity] = recent
  return revision < known.revision || (known.revision >= oldest && !recent.includes(known.revision))
}

type Table = Exclude<Listing, { unchanged: true }>

function nothing(askedAtMs: number): Known {
  return {
    instances: [],
    revision: undefined,
    mustRead: true,
    bornAtMs: undefined,
    readAtMs: undefined,
    confirmedAtMs: askedAtMs,
    keptUntilMs: new Map(),
  }
}

/** Drops those that were kept for long enough. */
function withoutOverdue(known: Known, nowMs: number): Known {
  const keptUntilMs = new Map([...known.keptUntilMs].filter(([, untilMs]) => untilMs > nowMs))
  const instances = keptUntilMs.size === known.keptUntilMs.size
    ? known.instances
    : known.instances.filter(({ id }) => keptUntilMs.has(id) || !known.keptUntilMs.has(id))
  return { ...known, instances, keptUntilMs, confirmedAtMs: nowMs }
}
