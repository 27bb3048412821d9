import type { Tensor } from '../wire/tensor.ts'
import type { DataRows } from './data_rows.ts'
import { feedShard } from './feeds.ts'
import type { Plan } from './plan.ts'

/** A shard of one of a plan's steps. */
export interface ShardPlace {
  /** SHA-256 of the plan. */
  readonly plan: string
  readonly dataStep: number
  readonly shard: number
}

/**
 * Inputs of shards, some made before they are asked for: rows depend on nothing but the plan, so they are read while the
 * device computes on others, and it need not wait for them.
 */
export class ShardFeeds {
  readonly #data: DataRows
  #ahead: { place: ShardPlace; inputs: Promise<Record<string, Tensor>> } | undefined
  #first: ShardPlace | undefined
  #isSteady = false

  constructor(data: DataRows) {
    this.#data = data
  }

  /** The inputs but for the parameters; the caller's own. */
  async take(place: ShardPlace, plan: Plan, signal: AbortSignal): Promise<Record<string, Tensor>> {
    const ahead = this.#ahead
    if (ahead && isSame(ahead.place, place)) {
      this.#ahead = undefined
      try {
        return await ahead.inputs
      } catch {
        // It was read for nobody; now somebody wants it.
      }
    }
    return await feedShard(plan, this.#data, place.dataStep, place.shard, signal)
  }

  /** Tells which shards a call brought: one that brings the same in two steps running likely does so in the next. */
  called(first: ShardPlace): void {
    const before = this.#first
    if (before?.plan === first.plan && before.dataStep === first.dataStep) return
    this.#isSteady = before !== undefined && isSame({ ...before, dataStep: before.dataStep + 1 }, first)
    this.#first = first
  }

  /** Makes the inputs of the first shard of the next step, if there is reason to think that it comes here. */
  prepareNextStep(plan: Plan): void {
    const first = this.#first
    if (!first || !this.#isSteady || this.#ahead) return
    const place = { ...first, dataStep: first.dataStep + 1 }
    const inputs = feedShard(plan, this.#data, place.dataStep, place.shard, NEVER)
    // Whoever takes them hears of it.
    inputs.catch(() => {})
    this.#ahead = { place, inputs }
  }

  /** Lets go of what was made ahead and has not been taken: what came instead was another step's or another plan's. */
  forgetBefore({ plan, dataStep }: ShardPlace): void {
    const place = this.#ahead?.place
    if (place && (place.plan !== plan || place.dataStep < dataStep)) this.#ahead = undefined
  }
}

const NEVER = new AbortController().signal

function isSame(a: ShardPlace, b: ShardPlace): boolean {
  return a.plan === b.plan && a.dataStep === b.dataStep && a.shard === b.shard
}
