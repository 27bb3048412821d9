import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { RpcRequest, Send } from '../rpc/send.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { RpcError } from '../wire/errors.ts'
import type { Matcher } from './match.ts'
import type { MethodPolicy } from './policy.ts'
import type { RoutedService } from './routed_service.ts'

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

/** Where an attempt goes, and among whom it was chosen, those that are ejected included. */
export interface Target {
  instance: LeasedInstance
  set: readonly LeasedInstance[]
  send: Send
}

export interface ChooserDeps {
  clock: Clock
  /** A way to call one instance; undefined if this process cannot reach addresses of its kind. */
  connect(instance: LeasedInstance): Send | undefined
}

type Chooser = ChooserDeps & { matcher: Matcher }

/**
 * An instance not tried yet, of the highest version that has one; else one that was tried.
 * @throws RpcError `not_found`, `failed_precondition` or `unavailable`
 */
export function choose(chooser: Chooser, call: Call): Target {
  const found = call.tried && chooseFresh(chooser, call) || pickAmong(chooser, call, undefined)
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
  { connect, matcher, clock }: Chooser,
  { request, service }: Call,
  tried: readonly string[] | undefined,
): Target | undefined {
  const pick = service.pickerFor(request)
  const hashKey = request.metadata['shoal-hash-key']
  for (const tier of matcher.match(service.table, request)) {
    const set = service.subsetOf(tier, hashKey)
    const sound = service.withoutOutliers(set, clock)
    let left = tried ? sound.filter(({ id }) => !tried.includes(id)) : sound
    for (let instance = pick(left, hashKey); instance; instance = pick(left, hashKey)) {
      const send = connect(instance)
      if (send) return { instance, set, send }
      const unreachable = instance
      left = left.filter((other) => other !== unreachable)
    }
  }
  return undefined
}
