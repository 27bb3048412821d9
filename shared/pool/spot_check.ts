import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { Tensor } from '../wire/tensor.ts'
import type { PoolCall } from './pool_call.ts'
import type { PoolWorker, Seat } from './seat.ts'

type Tensors = Record<string, Tensor>

export interface SpotChecksDeps {
  clock: Pick<Clock, 'after'>
  random: Random
  metrics: Metrics
  log?: Log
  /** Part of the calls that are checked; 0 checks none. */
  share: number
  /** Where one answer is not the other, in words; undefined where they agree within what devices may differ by. */
  difference(expected: Tensors, actual: Tensors): string | undefined
  /** Idle workers that may run the call's model, the best first. None while calls wait. */
  idle(call: PoolCall): readonly Seat[]
  /** Has a worker compute a call again. Rejects if it does not get to it. */
  again(seat: Seat, call: PoolCall, signal: AbortSignal): Promise<Tensors>
  /** Gives a worker no more calls of a model. */
  bar(seat: Seat, model: string, reason: string): void
}

/** What a check has found. 'none': nobody was idle. 'undecided': no third worker, or none of three is like another. */
type Outcome = 'agreed' | 'outvoted' | 'undecided' | 'unfinished'

/**
 * Has some calls computed again by another worker when their callers have their answers. Two that disagree are settled by a
 * third. Who is outvoted twice is put out for that model: once may happen to the best, where an answer hangs on the last
 * bit of a number (which of two classes that are equally likely), and so after the first time every call is looked at, until
 * some in a row were right.
 *
 * Nobody waits for a check. It takes a worker only while another stays idle and nothing is queued, and there is one at a
 * time. What volunteers say alone puts none out but volunteers: two of them may be one.
 */
export class SpotChecks {
  readonly #deps: SpotChecksDeps
  /** Agreements still owed, by life of worker and model. The longest unchecked first. */
  readonly #suspects = new Map<string, number>()
  /** What workers were put out of, by their lives: who joins again is no better. */
  readonly #barred = new Map<string, Map<string, string>>()
  /** Models of which three workers gave three answers: they are not what they say. */
  readonly #disputed = new Map<string, true>()
  #checking = false

  constructor(deps: SpotChecksDeps) {
    this.#deps = deps
  }

  /** What a worker that joins was put out of in this life. */
  barredOf(worker: PoolWorker): ReadonlyMap<string, string> | undefined {
    return this.#barred.get(lifeOf(worker))
  }

  /** A call was answered: it may be checked. Returns at once. */
  answered(seat: Seat, call: PoolCall, outputs: Tensors): void {
    const { share, random, idle } = this.#deps
    if (share <= 0 || call.model.deterministic !== true || this.#checking) return
    const isSuspect = this.#suspects.size > 0 && this.#suspects.has(suspectKey(seat, call))
    if (!isSuspect && random() >= share) return
    if (this.#disputed.has(call.model.sha256) || bytesOf(call.inputs) + bytesOf(outputs) > LIMITS.maxSpotCheckBytes) {
      return
    }
    const others = idle(call).filter((other) => other !== seat)
    const [second] = others
    if (!second) return
    this.#checking = true
    void this.#check(seat, second, call, outputs).catch((): Outcome => 'unfinished').then((outcome) => {
      this.#checking = false
      this.#deps.metrics.count('shoal_pool_spot_checks_total', { outcome })
    })
  }

  async #check(first: Seat, second: Seat, call: PoolCall, outputs: Tensors): Promise<Outcome> {
    const { log = silentLog } = this.#deps
    const again = await this.#again(second, call)
    const difference = this.#disagreement(again, outputs)
    if (!difference) {
      for (const seat of [first, second]) this.#agreed(seat, call)
      return 'agreed'
    }
    const model = call.model.sha256
    const third = this.#deps.idle(call).find((seat) => seat !== first && seat !== second)
    log('warn', 'workers disagree', { model, first: first.worker.id, second: second.worker.id, difference })
    if (!third) return 'undecided'
    const settled = await this.#again(third, call)
    const firstDiffers = this.#disagreement(settled, outputs)
    const secondDiffers = this.#disagreement(settled, again)
    if (firstDiffers && !secondDiffers) this.#outvoted(first, [second, third], call, firstDiffers)
    else if (secondDiffers && !firstDiffers) this.#outvoted(second, [first, third], call, secondDiffers)
    else {
      if (firstDiffers) remember(this.#disputed, model, LIMITS.maxRefusedModels, true)
      return 'undecided'
    }
    return 'outvoted'
  }

  async #again(seat: Seat, call: PoolCall): Promise<Tensors> {
    const timeout = new AbortController()
    const cancel = this.#deps.clock.after(DEFAULTS.spotCheckTimeoutMs, () => timeout.abort())
    try {
      return await this.#deps.again(seat, call, timeout.signal)
    } finally {
      cancel()
    }
  }

  /** Both ways: of numbers that are not finite, or that dwarf all others, only the other side takes notice. */
  #disagreement(a: Tensors, b: Tensors): string | undefined {
    return this.#deps.difference(a, b) ?? this.#deps.difference(b, a)
  }

  #agreed(seat: Seat, call: PoolCall): void {
    const key = suspectKey(seat, call)
    const owed = this.#suspects.get(key)
    if (owed === undefined) return
    if (owed <= 1) this.#suspects.delete(key)
    else this.#suspects.set(key, owed - 1)
  }

  #outvoted(seat: Seat, witnesses: readonly Seat[], call: PoolCall, reason: string): void {
    const model = call.model.sha256
    const { log = silentLog, metrics } = this.#deps
    const fields = { worker: seat.worker.id, name: seat.worker.name, model, reason }
    if (!seat.worker.volunteer && witnesses.every(({ worker }) => worker.volunteer)) {
      return log('warn', 'worker outvoted by volunteers alone', fields)
    }
    const key = suspectKey(seat, call)
    if (!this.#suspects.has(key)) {
      remember(this.#suspects, key, LIMITS.maxBarredLives, DEFAULTS.spotCheckAgreements)
      return log('warn', 'worker outvoted', fields)
    }
    this.#suspects.delete(key)
    const life = lifeOf(seat.worker)
    const models = this.#barred.get(life) ?? new Map<string, string>()
    remember(models, model, LIMITS.maxBarredModels, reason)
    remember(this.#barred, life, LIMITS.maxBarredLives, models)
    metrics.count('shoal_pool_workers_barred_total', { device: seat.worker.device })
    log('error', 'worker put out for a model that it computes wrong', fields)
    this.#deps.bar(seat, model, reason)
    seat.worker.onBarred?.(model, reason)
  }
}

function suspectKey({ worker }: Seat, { model }: PoolCall): string {
  return `${lifeOf(worker)} ${model.sha256}`
}

function lifeOf({ id, life = id }: PoolWorker): string {
  return life
}

function bytesOf(tensors: Tensors): number {
  let total = 0
  for (const name in tensors) total += tensors[name]?.bytes.byteLength ?? 0
  return total
}

/** Adds to a set or map of so many at most; the first added goes. */
function remember<K, V>(kept: Map<K, V>, key: K, most: number, value: V): void {
  kept.delete(key)
  kept.set(key, value)
  const [first] = kept.keys()
  if (kept.size > most && first !== undefined) kept.delete(first)
}
