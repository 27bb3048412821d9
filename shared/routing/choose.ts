import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { RpcRequest, Send } from '../rpc/send.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { RpcError } from '../wire/errors.ts'
import type { Matcher } from './match.ts'
import type { MethodPolicy } from './policy.ts'
import type { RoutedService } from './routed_service.ts'

type Instances = readonly LeasedInstance[]

/** One call under way. */
export interface Call {
  readonly request: RpcRequest
  readonly service: RoutedService
  readonly policy: MethodPolicy
  readonly startedAtMs: number
  /** Instances that were tried; undefined before the first retry or hedge. */
  tried: string[] | undefined
  attempts: number
  isHedged: boolean
}

/** Where an attempt goes, and its equals: all of that version, of which a share may be ejected. */
export interface Target {
  instance: LeasedInstance
  equals: Instances
  send: Send
}

export interface ChooserDeps {
  clock: Clock
  /** A way to call one instance; undefined if this process cannot reach addresses of its kind. */
  connect(instance: LeasedInstance): Send | undefined
  /** Of equals those that are near, where they can carry the calls; else the same list. All are near by default. */
  near?(equals: Instances): Instances
}

type Chooser = ChooserDeps & { matcher: Matcher }

/**
 * An instance not tried yet, of the highest version that has one; else one that was tried. The first is near; who tries
 * again goes elsewhere first, for a zone may die as a whole.
 * @throws RpcError `not_found`, `failed_precondition` or `unavailable`
 */
export function choose(chooser: Chooser, call: Call): Target {
  const found = call.tried && pickAmong(chooser, call, call.tried, true) || pickAmong(chooser, call, undefined)
  if (found) return found
  const { service, group } = call.request
  throw new RpcError('unavailable', `Cannot call ${service}: no instance of group "${group}" can be reached`, {
    retryAfterMs: DEFAULTS.retryAfterMs,
    neverSent: true,
  })
}

/** An instance that was not tried yet. */
export function chooseFresh(chooser: Chooser, call: Call): Target | undefined {
  return pickAmong(chooser, call, call.tried)
}

function pickAmong(
  { connect, matcher, clock, near }: Chooser,
  { request, service }: Call,
  tried: readonly string[] | undefined,
  isFarFirst = false,
): Target | undefined {
  const pick = service.pickerFor(request)
  const hashKey = request.metadata['shoal-hash-key']
  for (const equals of matcher.match(service.table, request)) {
    // Before zones and subsets: in a small part of them half may be too few to leave out, and the rest of the part would
    // go on failing calls. This way others take the places of those that are left out.
    const sound = service.soundOf(equals, clock)
    for (const set of inOrder(sound, near, isFarFirst)) {
      const part = service.subsetOf(set, hashKey)
      let left = tried ? part.filter(({ id }) => !tried.includes(id)) : part
      for (let instance = pick(left, hashKey); instance; instance = pick(left, hashKey)) {
        const send = connect(instance)
        if (send) return { instance, equals, send }
        const unreachable = instance
        left = left.filter((other) => other !== unreachable)
      }
    }
  }
  return undefined
}

/** Those near before all, or those elsewhere. */
function inOrder(sound: Instances, near: ChooserDeps['near'], isFarFirst: boolean): readonly Instances[] {
  const close = near?.(sound) ?? sound
  return close === sound ? [sound] : [isFarFirst ? without(sound, close) : close, sound]
}

function without(set: Instances, others: Instances): Instances {
  const left = new Set(others)
  return set.filter((instance) => !left.has(instance))
}
