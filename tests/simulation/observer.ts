import { createHash } from 'node:crypto'
import type { Clock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { suspectAfterMs } from '../../shared/stores/lease_store.ts'
import type { Instance, LeasedInstance, Listing } from '../../shared/stores/lease_store.ts'
import { type Offer, OfferRule } from './offers.ts'

export const TTL_MS = DEFAULTS.relayLeaseMs
export const BEAT_MS = DEFAULTS.relayBeatMs * (1 + DEFAULTS.beatJitter)
/** Requests under way, rates of clocks, rounding. */
const SLACK_MS = 1_000

interface Life {
  incarnation: string
  beatsMs: number[]
  leftAtMs: number | undefined
  /** Whether the store has heard of it since it last lost anything. */
  isMet: boolean
}

/** What one gateway has been told, as it came over its line. */
export interface Reader {
  name: string
  /** When the last answered question was asked, by virtual time. */
  askedAtMs: number
  /** When each answered question was asked, or a little earlier, and when its answer came. */
  asked: { atMs: number; answeredAtMs: number }[]
  answeredAtMs: number
  /** When it was first answered by a store that had lost something since the answer before. */
  lossHeardAtMs: number
  /** Instances' lives it has ever known. */
  seen: Set<string>
  revision: number
  calls: number
  attempts: number
  bornAtMs: number
}

/**
 * Sees all that happens from outside, where it crosses a line, and holds it against what must always be true. It shares
 * no state with what it watches: times are the simulation's own, lives those that the store confirmed.
 */
export class Observer {
  readonly violations = new Set<string>()
  readonly lines: string[] = []
  readonly #time: Pick<Clock, 'now'>
  readonly #lives = new Map<string, Life>()
  readonly #superseded = new Set<string>()
  readonly #executions = new Map<number, number>()
  readonly #answers = new Map<number, number>()
  readonly #tables = new Map<string, string>()
  readonly #responses = new Set<string>()
  readonly #offers = new OfferRule()
  /** When the store forgot, or dated wrongly, what it had been told. */
  readonly #lossesMs: number[] = []
  /** When it forgot who is registered, all of it or in part. */
  readonly #forgotten: { atMs: number }[] = []
  #downSinceMs: number | undefined
  #downMs = 0

  constructor(time: Pick<Clock, 'now'>) {
    this.#time = time
  }

  /** Two runs are the same if all that happened is, to the fraction of a millisecond. */
  get hash(): string {
    return createHash('sha256').update(this.lines.join('\n')).digest('hex')
  }

  note(line: string): void {
    this.lines.push(`${this.#time.now().toFixed(3)} ${line}`)
  }

  violate(rule: string, what: string): void {
    this.violations.add(rule)
    this.note(`VIOLATION ${rule}: ${what}`)
  }

  // The store, as it is from outside.

  onStoreLoss(what: string, forgets: 'all' | 'some' | 'nothing'): void {
    this.#lossesMs.push(this.#time.now())
    if (forgets !== 'nothing') this.#forgotten.push({ atMs: this.#time.now() })
    // Which lives are over it may have forgotten, and even which there were.
    this.#superseded.clear()
    for (const life of this.#lives.values()) {
      life.isMet = false
      // A goodbye that an old snapshot does not hold has not been said.
      if (forgets === 'some') life.leftAtMs = undefined
    }
    this.note(`store ${what}`)
  }

  onStoreUp(isUp: boolean): void {
    const nowMs = this.#time.now()
    if (isUp && this.#downSinceMs !== undefined) this.#downMs += nowMs - this.#downSinceMs
    this.#downSinceMs = isUp ? undefined : this.#downSinceMs ?? nowMs
    this.note(`store ${isUp ? 'up' : 'down'}`)
  }

  onRenewed({ id, incarnation }: Instance, isRefused: boolean): void {
    const nowMs = this.#time.now()
    const name = `${id}/${incarnation}`
    this.note(`renew ${name} ${isRefused ? 'refused' : 'ok'}`)
    if (isRefused) return
    if (this.#superseded.has(name)) this.violate('an older life is refused', name)
    let life = this.#lives.get(id)
    if (life?.incarnation !== incarnation) {
      if (life?.isMet) this.#superseded.add(`${id}/${life.incarnation}`)
      this.#lives.set(id, life = { incarnation, beatsMs: [], leftAtMs: undefined, isMet: true })
    }
    life.isMet = true
    life.beatsMs.push(nowMs)
  }

  onLeft(id: string, incarnation: string): void {
    this.note(`leave ${id}/${incarnation}`)
    const life = this.#lives.get(id)
    // The store ignores the goodbye of any life but the current one (lease_store.ts): one that overtook its first beat, while
    // another is registered yet, ends nothing.
    if (life && life.incarnation !== incarnation) return
    this.#superseded.add(`${id}/${incarnation}`)
    if (life) life.leftAtMs ??= this.#time.now()
  }

  // The registry, as a gateway reads it.

  onListed(reader: Reader, askedAtMs: number, listing: Listing): void {
    const hasLost = this.#hasLostSince(reader.askedAtMs)
    if (hasLost) reader.lossHeardAtMs = this.#time.now()
    reader.asked.push({ atMs: askedAtMs - SLACK_MS, answeredAtMs: this.#time.now() })
    reader.askedAtMs = Math.max(reader.askedAtMs, askedAtMs)
    reader.answeredAtMs = this.#time.now()
    if (listing.revision < reader.revision && !hasLost) {
      this.violate('revisions rise', `${reader.name} ${reader.revision} then ${listing.revision}`)
    }
    reader.revision = listing.revision
    if ('unchanged' in listing) return this.note(`${reader.name} unchanged ${listing.revision}`)
    const table = listing.instances.map(({ id, incarnation }) => `${id}/${incarnation}`).join(' ')
    this.note(`${reader.name} listed ${listing.revision}: ${table}`)
    const key = `${listing.revision} ${listing.bornAtMs}`
    const before = this.#tables.get(key)
    if (before !== undefined && before !== table) {
      this.violate('one revision, one table', `${key}: ${before} | ${table}`)
    }
    this.#tables.set(key, table)
  }

  /** @param listed what the gateway knows @param eligible what of it calls may go to @param live lives that go on */
  onEligible(
    reader: Reader,
    listed: readonly LeasedInstance[],
    eligible: readonly LeasedInstance[],
    live: ReadonlySet<string>,
  ): void {
    for (const { id, incarnation } of listed) reader.seen.add(`${id}/${incarnation}`)
    const healthy = [...this.#lives.keys()].filter((id) => this.#isSoundFor(reader, id, live))
    const known = new Set([...listed.map(({ id }) => id), ...healthy])
    if (healthy.length * 2 <= known.size) return
    const among = (instances: readonly LeasedInstance[]) => instances.filter(({ id }) => healthy.includes(id)).length
    if (among(listed) * 2 < healthy.length || among(eligible) === 0) {
      const ids = (instances: readonly LeasedInstance[]) => instances.map(({ id }) => id).join(',')
      const what = `${reader.name} knows ${ids(listed)}, uses ${ids(eligible)}, healthy ${healthy}`
      this.violate('a healthy majority is never emptied', what)
    }
  }

  /** What a call that is about to choose may choose from. */
  onOffered(offer: Offer): void {
    const what = this.#offers.missingIn(offer, this.#time.now())
    if (what) this.violate('a healthy majority is offered', what)
  }

  onFailed(reader: Reader, id: string): void {
    this.#offers.onFailed(reader.name, id, this.#time.now())
  }

  onAttempt(reader: Reader, { id, incarnation, version }: LeasedInstance, listed: readonly LeasedInstance[]): void {
    reader.attempts++
    this.note(`${reader.name} calls ${id}/${incarnation}`)
    const retries = reader.attempts - reader.calls
    const allowed = 0.2 * reader.calls + 10 + 10 * (this.#time.now() - reader.bornAtMs) / 1000 * 1.05
    if (retries > allowed) this.violate('retries stay within a fifth of the calls', `${retries} for ${reader.calls}`)
    const life = this.#lives.get(id)
    // What the store has forgotten or dated wrongly, it cannot have told.
    if (!life || reader.lossHeardAtMs >= reader.answeredAtMs - 2 * (TTL_MS + BEAT_MS)) return
    const told = reader.askedAtMs - SLACK_MS
    if (life.leftAtMs !== undefined && life.leftAtMs < told) {
      this.violate('who has left is not called', `${reader.name} calls ${id}, left at ${life.leftAtMs}`)
    }
    const silentMs = told - (life.beatsMs.at(-1) ?? Infinity)
    if (silentMs <= TTL_MS + BEAT_MS) return
    const sinceMs = reader.answeredAtMs - suspectAfterMs(TTL_MS) + SLACK_MS
    const equals = listed.filter((other) => other.version === version)
    const mayBeOut = (other: LeasedInstance) => this.#offers.settledAtMs(reader.name, other.id) > this.#time.now()
    const sound = equals.filter((other) => this.#hasBeaten(other.id, sinceMs, told) && !mayBeOut(other))
    // Panic routing: with fewer than half of a version neither suspect nor ejected, suspects are tried too.
    if (sound.length * 2 < equals.length) return
    this.violate('no call to who is gone', `${reader.name} calls ${id}, silent for ${Math.round(silentMs)} ms`)
  }

  // Calls, as their callers and servers see them.

  onCall(reader: Reader, call: number, method: string): void {
    reader.calls++
    this.note(`call ${call} ${method} at ${reader.name}`)
  }

  onExecuted(call: number, method: string, by: string): void {
    const times = (this.#executions.get(call) ?? 0) + 1
    this.#executions.set(call, times)
    this.note(`executed ${call} by ${by}`)
    if (method === 'write' && times > 1) this.violate('a write is done at most once', `call ${call}: ${times} times`)
  }

  onAnswer(call: number, outcome: string, of: number | undefined): void {
    const times = (this.#answers.get(call) ?? 0) + 1
    this.#answers.set(call, times)
    this.note(`answer ${call} ${outcome}`)
    if (times > 1) this.violate('no call is answered twice', `call ${call}`)
    if (of !== undefined && of !== call) this.violate('an answer is of its call', `call ${call} got that of ${of}`)
    if (of !== undefined && !this.#executions.has(call)) this.violate('an answer is of its call', `${call} never ran`)
  }

  /** A response on a connection, by the number of its call. */
  onResponse(connection: number, id: number): void {
    const key = `${connection} ${id}`
    if (this.#responses.has(key)) this.violate('no call is answered twice', `number ${id} on connection ${connection}`)
    this.#responses.add(key)
  }

  #hasLostSince(atMs: number): boolean {
    return (this.#lossesMs.at(-1) ?? -Infinity) >= atMs
  }

  #hasBeaten(id: string, sinceMs: number, untilMs: number): boolean {
    return this.#lives.get(id)?.beatsMs.some((atMs) => atMs > sinceMs && atMs <= untilMs) ?? false
  }

  /** Whether a running instance has to be known to a reader: told of once, and heard by the store while that was up. */
  #isSoundFor(reader: Reader, id: string, live: ReadonlySet<string>): boolean {
    const life = this.#lives.get(id)
    const lastMs = life?.beatsMs.at(-1)
    if (!life || lastMs === undefined || life.leftAtMs !== undefined) return false
    const name = `${id}/${life.incarnation}`
    if (!live.has(name) || !reader.seen.has(name)) return false
    const nowMs = this.#time.now()
    const downMs = this.#downMs + (this.#downSinceMs === undefined ? 0 : nowMs - this.#downSinceMs)
    const [forgotten, before] = [this.#forgotten.at(-1), this.#forgotten.at(-2)]
    if (!this.#hasBeaten(id, forgotten?.atMs ?? -Infinity, reader.askedAtMs - SLACK_MS)) {
      // What a store forgot, all of it or in part, a gateway that had been told keeps until it must have beaten again. It had
      // if the answer came before the loss: a question asked before it may have been answered after.
      const told = reader.asked.findLast(({ answeredAtMs }) => answeredAtMs < (forgotten?.atMs ?? 0))
      const isKept = forgotten && nowMs - forgotten.atMs < TTL_MS - SLACK_MS &&
        this.#hasBeaten(id, before?.atMs ?? -Infinity, told?.atMs ?? 0)
      if (!isKept) return false
    }
    return nowMs - lastMs < 3 * TTL_MS + Math.min(downMs, nowMs - lastMs)
  }
}
