import { sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { fullJitterMs } from '../base/random.ts'
import type { MethodLimit } from '../rpc/bulkhead.ts'
import { holding } from '../rpc/held_stream.ts'
import { abortError, Deadline, untilAborted } from '../rpc/deadline.ts'
import type { RpcRequest, RpcResponse, Send } from '../rpc/send.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { RpcError } from '../wire/errors.ts'
import type { CallOutcome } from './breaker.ts'
import { deservesFallback, LastAnswers, staticAnswer } from './fallback.ts'
import { hedge } from './hedge.ts'
import { type Call, choose, chooseFresh, type ChooserDeps, type Target } from './choose.ts'
import type { OutstandingCall } from './load.ts'
import { Matcher } from './match.ts'
import type { Fallback } from './policy.ts'
import { type RoutedServiceDeps, RoutedServices } from './routed_service.ts'
import { costsRetry, isRetryable, outcomeOf, verdictOf } from './verdict.ts'

export interface RouterDeps extends RoutedServiceDeps, ChooserDeps {
  /**
   * Registered instances of a service, from a table in memory: the same list again as long as nothing has changed. Suspects
   * are among them: who is left out is decided in one place. Not a promise where the list is at hand: nearly every call
   * finds it so, and waiting for what is there costs each of them a turn.
   */
  instances(service: string): readonly LeasedInstance[] | Promise<readonly LeasedInstance[]>
  /** Tells the table that an instance did not answer. */
  onUnreachable(service: string): void
}

/**
 * Calls a service by name. The order of policies, from the outside in:
 *
 *   fallback → bulkhead → breaker → retries under a budget → hedge → balancer among those not ejected nor suspect → time-out → attempt
 *
 * The deadline is the request's signal and spans all of it. The highest compatible version serves; older ones where it
 * cannot. What a policy leaves off costs a look and no more: no timer, no closure, no promise.
 */
export function createRouter(deps: RouterDeps): Send {
  const { clock, random, metrics } = deps
  const services = new RoutedServices(deps)
  const chooser = { clock, connect: deps.connect, near: deps.near, matcher: new Matcher() }
  const lastAnswers = new LastAnswers()

  return (request) => {
    const call = open(request)
    return call.policy.fallback ? withFallback(call, call.policy.fallback) : limited(call)
  }

  async function withFallback(call: Call, fallback: Fallback): Promise<RpcResponse> {
    try {
      const response = await limited(call)
      if ('lastGood' in fallback) lastAnswers.keep(call.request, response)
      return response
    } catch (thrown) {
      const error = RpcError.from(thrown)
      const answer = deservesFallback(error, call.request.signal) && await instead(call, fallback)
      const kind = 'value' in fallback ? 'static' : 'lastGood' in fallback ? 'last_good' : 'service'
      metrics.count('shoal_router_fallbacks_total', { kind, answered: String(Boolean(answer)) })
      if (!answer) throw error
      return withAttempts(answer, `${attemptsOf(call)};fallback=${kind}`)
    }
  }

  async function instead(call: Call, fallback: Fallback): Promise<RpcResponse | undefined> {
    const { request } = call
    if ('value' in fallback) return request.stream ? undefined : staticAnswer(fallback.value)
    if ('lastGood' in fallback) return lastAnswers.find(request)
    const timeoutMs = Math.max(1, remainingMs(call))
    // Versions are the other service's own. Its own fallback is not taken: two could point at each other.
    const other = open({ ...request, service: fallback.service, version: '', timeoutMs })
    return await limited(other).catch(() => undefined)
  }

  function limited(call: Call): Promise<RpcResponse> {
    return call.policy.bulkhead ? inBulkhead(call, call.policy.bulkhead) : retried(call)
  }

  async function inBulkhead(call: Call, size: MethodLimit): Promise<RpcResponse> {
    let isIn = false
    const go = () => {
      isIn = true
      return retried(call)
    }
    try {
      return await call.service.inBulkhead(call.request, size, go)
    } catch (thrown) {
      if (!isIn) refused('bulkhead')
      throw thrown
    }
  }

  async function retried(call: Call): Promise<RpcResponse> {
    const { request, service, policy } = call
    const { breaker, budget } = service
    const admission = breaker?.admit(call.startedAtMs)
    if (breaker && admission === undefined) {
      refused('breaker')
      throw isOpen(request, breaker.retryAfterMs(call.startedAtMs))
    }
    let outcome: CallOutcome
    try {
      for (;;) {
        const found = deps.instances(request.service)
        services.saw(service, found instanceof Promise ? await arrived(call, found) : found)
        const target = choose(chooser, call)
        if (call.attempts === 0) budget.deposit()
        // Where there is no hedge the attempt is made here, and not by `attempt`: each async function costs every call.
        const alone = policy.hedge ? undefined : begin(call, target, request)
        try {
          const response = alone ? answered(call, alone, await send(call, alone)) : await hedged(call, target)
          outcome = 'answered'
          return withAttempts(response, attemptsOf(call))
        } catch (thrown) {
          const error = alone ? failed(call, alone, thrown) : thrown as RpcError
          const elapsedMs = clock.now() - call.startedAtMs
          outcome = outcomeOf(verdictOf(error, elapsedMs, service.book.usualMs))
          const waitMs = waitBeforeNext(call, target, error, elapsedMs)
          metrics.count('shoal_router_failures_total', { code: error.code, retried: String(waitMs !== undefined) })
          if (waitMs === undefined) {
            error.attempts = attemptsOf(call)
            throw error
          }
          await sleep(clock, waitMs, request.signal).catch((reason) => {
            throw abortError(reason)
          })
        }
      }
    } finally {
      const nowMs = clock.now()
      budget.record(outcome, nowMs)
      if (breaker && admission !== undefined) breaker.record(admission, outcome, nowMs)
    }
  }

  /** @returns undefined if the failure is the call's end: another attempt does harm, or has no place, time or price */
  function waitBeforeNext(call: Call, target: Target, error: RpcError, elapsedMs: number): number | undefined {
    const { request, service, policy } = call
    const waitMs = error.retryAfterMs ?? backOffMs(call.attempts)
    ;(call.tried ??= []).push(target.instance.id)
    const again = call.attempts < (policy.maxAttempts ?? DEFAULTS.maxAttempts) && isRetryable(error, request) &&
      (error.code === 'unavailable' || chooseFresh(chooser, call) !== undefined) &&
      waitMs < request.timeoutMs - elapsedMs && (!costsRetry(error) || service.budget.withdraw())
    return again ? waitMs : undefined
  }

  /** A second attempt elsewhere beside one that takes longer than nearly all do. */
  function hedged(call: Call, first: Target): Promise<RpcResponse> {
    const { request, service } = call
    const delayMs = service.latencyOf(request.method).valueMs
    if (!request.idempotent || request.stream || delayMs === undefined) return attempt(call, first, request)
    let second: Target | undefined
    return hedge({
      clock,
      signal: request.signal,
      delayMs,
      mayHedge() {
        ;(call.tried ??= []).push(first.instance.id)
        second = chooseFresh(chooser, call)
        return call.isHedged = second !== undefined && service.budget.withdraw()
      },
    }, async (signal, isSecond) => {
      const response = await attempt(call, isSecond && second ? second : first, { ...request, signal })
      if (call.isHedged) metrics.count('shoal_router_hedges_total', { won: String(isSecond) })
      return response
    })
  }

  /** @throws RpcError always, whatever was thrown */
  async function attempt(call: Call, target: Target, request: RpcRequest): Promise<RpcResponse> {
    const begun = begin(call, target, request)
    try {
      return answered(call, begun, await send(call, begun))
    } catch (thrown) {
      throw failed(call, begun, thrown)
    }
  }

  function begin(call: Call, target: Target, request: RpcRequest): Attempt {
    const isFirst = ++call.attempts === 1
    return { target, request, isFirst, out: call.service.book.begin(target.instance.id) }
  }

  function send(call: Call, { target, request, isFirst }: Attempt): Promise<RpcResponse> {
    const { attemptTimeoutMs } = call.policy
    // Each hop is told what is left, not what there was at first.
    const sent = isFirst ? request : { ...request, timeoutMs: Math.max(1, remainingMs(call)) }
    return attemptTimeoutMs === undefined ? target.send(sent) : timed(target.send, sent, attemptTimeoutMs)
  }

  function answered(call: Call, { target, request, isFirst, out }: Attempt, response: RpcResponse): RpcResponse {
    const { service, policy } = call
    const { instance, equals } = target
    const tookMs = service.ended(out, instance.id, equals, 'answered')
    if (policy.hedge && isFirst) service.latencyOf(request.method).add(tookMs)
    if (response.kind === 'unary') return response
    const end = service.book.beginStream(instance.id)
    return { ...response, payloads: holding(response.payloads, request.signal, end) }
  }

  /** Takes note of a failure, whatever was thrown. */
  function failed(call: Call, { target, request, isFirst, out }: Attempt, thrown: unknown): RpcError {
    const { service, policy } = call
    const error = request.signal.aborted ? abortError(request.signal.reason) : RpcError.from(thrown)
    const waitedMs = clock.now() - out.value.startedAtMs
    const verdict = verdictOf(error, waitedMs, service.book.usualMs)
    service.ended(out, target.instance.id, target.equals, verdict, error.unanswered)
    // One that was overtaken would have taken longer yet: not to count it would make hedges breed hedges.
    if (policy.hedge && isFirst && verdict === 'given up') service.latencyOf(request.method).add(waitedMs)
    if (error.code === 'unavailable') deps.onUnreachable(request.service)
    return error
  }

  async function timed(send: Send, request: RpcRequest, timeoutMs: number): Promise<RpcResponse> {
    if (request.stream || timeoutMs >= request.timeoutMs) return await send(request)
    using limit = new Deadline(clock, timeoutMs, request.signal)
    try {
      return await untilAborted(send({ ...request, timeoutMs, signal: limit.signal }), limit.signal)
    } catch (thrown) {
      if (!limit.signal.aborted || request.signal.aborted) throw thrown
      throw new RpcError('unavailable', `Cannot finish the attempt: no answer within ${timeoutMs} ms`, {
        cause: thrown,
      })
    }
  }

  function open(request: RpcRequest): Call {
    const service = services.of(request.service)
    const policy = service.policyOf(request.method)
    return { request, service, policy, startedAtMs: clock.now(), tried: undefined, attempts: 0, isHedged: false }
  }

  async function arrived({ request, service }: Call, table: Promise<readonly LeasedInstance[]>) {
    try {
      return await untilAborted(table, request.signal)
    } catch (thrown) {
      if (service.table.length === 0) services.forget(service)
      throw thrown
    }
  }

  function remainingMs({ request, startedAtMs }: Call): number {
    return request.timeoutMs - (clock.now() - startedAtMs)
  }

  function backOffMs(attempts: number): number {
    return fullJitterMs(attempts - 1, { baseMs: DEFAULTS.retryBaseMs, capMs: DEFAULTS.retryCapMs }, random)
  }

  function refused(by: 'bulkhead' | 'breaker'): void {
    metrics.count('shoal_router_refused_total', { by })
  }
}

/** One attempt of a call under way. */
interface Attempt {
  target: Target
  request: RpcRequest
  isFirst: boolean
  out: OutstandingCall
}

function isOpen({ service }: RpcRequest, retryAfterMs: number): RpcError {
  const reason = `Cannot call ${service}: most of its calls failed lately, and it is left alone for a while`
  return new RpcError('unavailable', reason, { retryAfterMs, neverSent: true })
}

/** The value of `shoal-attempts`. */
function attemptsOf({ attempts, isHedged }: Call): string {
  return isHedged ? `${attempts};hedged` : String(attempts)
}

function withAttempts(response: RpcResponse, attempts: string): RpcResponse {
  const metadata = { ...response.metadata, 'shoal-attempts': attempts }
  return response.kind === 'unary'
    ? { kind: 'unary', metadata, payload: response.payload }
    : { kind: 'stream', metadata, payloads: response.payloads }
}
