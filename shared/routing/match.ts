import { compareVersions, satisfies } from '../base/version.ts'
import { isSuspect, type LeasedInstance } from '../stores/lease_store.ts'
import { RpcError } from '../wire/errors.ts'

/** What a caller asks of an instance. */
export interface Wanted {
  service: string
  /** Semver range; empty for any. */
  version: string
  group: string
}

/**
 * Instances that fit, in tiers of one version each, the highest version first; versions of which all are suspect stand
 * behind those that can serve. Never empty.
 */
export type Tiers = readonly (readonly LeasedInstance[])[]

/** Ranges and groups remembered per table: callers choose them freely. */
const MAX_REMEMBERED = 64

/** What was found in one table: for whoever takes any version of the default group, and by group and range. */
interface Remembered {
  any: Tiers | undefined
  readonly byWish: Map<string, Tiers>
}

/** Finds instances by version and group. A table stays the same for many calls, so answers are remembered with it. */
export class Matcher {
  readonly #known = new WeakMap<readonly LeasedInstance[], Remembered>()

  /** @throws RpcError `not_found` or `failed_precondition`, saying what there is instead */
  match(all: readonly LeasedInstance[], wanted: Wanted): Tiers {
    let known = this.#known.get(all)
    if (!known) this.#known.set(all, known = { any: undefined, byWish: new Map() })
    // What nearly all ask for: no key need be written for it.
    if (wanted.version === '' && wanted.group === 'default') return known.any ??= findTiers(all, wanted)
    const { byWish } = known
    const key = `${wanted.group} ${wanted.version}`
    let tiers = byWish.get(key)
    if (!tiers) {
      tiers = findTiers(all, wanted)
      if (byWish.size < MAX_REMEMBERED) byWish.set(key, tiers)
    }
    return tiers
  }
}

function findTiers(all: readonly LeasedInstance[], { service, version, group }: Wanted): Tiers {
  if (all.length === 0) {
    const reason = `Cannot call ${service}: no instance of it is registered`
    throw new RpcError('not_found', reason, { neverSent: true })
  }
  const inGroup = all.filter((instance) => instance.group === group)
  if (inGroup.length === 0) {
    throw new RpcError(
      'not_found',
      `Cannot call ${service}: group "${group}" was asked for, there is ${list(all, 'group')}`,
      { neverSent: true },
    )
  }
  const matching = inGroup.filter((instance) => satisfies(instance.version, version))
  // Weight 0 asks for no calls: it is heard as long as there is anybody else.
  const willing = matching.filter(({ weight }) => weight > 0)
  const byVersion = Map.groupBy(willing.length > 0 ? willing : matching, (instance) => instance.version)
  if (byVersion.size === 0) {
    throw new RpcError(
      'failed_precondition',
      `Cannot call ${service}: version ${version} was asked for, there is ${list(inGroup, 'version')}`,
      { neverSent: true },
    )
  }
  const tiers = [...byVersion].sort(([a], [b]) => compareVersions(b, a)).map(([, tier]) => tier)
  const isSound = (tier: readonly LeasedInstance[]) => !tier.every(isSuspect)
  return [...tiers.filter(isSound), ...tiers.filter((tier) => !isSound(tier))]
}

function list(instances: readonly LeasedInstance[], field: 'version' | 'group'): string {
  const values = [...new Set(instances.map((instance) => instance[field]))]
  return values.length > 5 ? `${values.slice(0, 5).join(', ')} and ${values.length - 5} more` : values.join(', ')
}
