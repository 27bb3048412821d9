import type { WorkerLimits } from '../contracts/fields.ts'
import type { ModelRef } from '../contracts/pool.ts'

/** What a model needs that a worker has not. */
export interface Shortage {
  limit: keyof WorkerLimits
  /** Of the model, in words. */
  what: string
  neededBytes: number
  /** The most that a worker takes. */
  availableBytes: number
}

const NEEDS = [
  { limit: 'maxTensorBytes', need: 'largestTensorBytes', what: 'its largest tensor' },
  { limit: 'maxFileBytes', need: 'fileBytes', what: 'the file with its graph' },
  { limit: 'maxModelBytes', need: 'bytes', what: 'all that belongs to it' },
] as const

/** Why a model does not fit a worker; undefined where it does. What is not known of either keeps nobody from trying. */
export function shortageOf(limits: WorkerLimits | undefined, model: ModelRef): Shortage | undefined {
  if (!limits) return undefined
  for (const { limit, need, what } of NEEDS) {
    const availableBytes = limits[limit] ?? Infinity
    const neededBytes = model[need] ?? 0
    if (neededBytes > availableBytes) return { limit, what, neededBytes, availableBytes }
  }
  return undefined
}

/** What none of these workers is too small for. */
export function leastOf(all: Iterable<WorkerLimits | undefined>): WorkerLimits {
  const least: WorkerLimits = {}
  for (const limits of all) {
    if (!limits) continue
    for (const { limit } of NEEDS) {
      const bytes = limits[limit]
      if (bytes !== undefined) least[limit] = Math.min(least[limit] ?? Infinity, bytes)
    }
  }
  return least
}

/** Of workers that all are too small, what the one lacks that comes closest. */
export function leastShort(all: Iterable<WorkerLimits | undefined>, model: ModelRef): Shortage | undefined {
  let closest: Shortage | undefined
  for (const limits of all) {
    const shortage = shortageOf(limits, model)
    if (shortage && (!closest || shortOf(shortage) < shortOf(closest))) closest = shortage
  }
  return closest
}

function shortOf({ neededBytes, availableBytes }: Shortage): number {
  return neededBytes / availableBytes
}

/** As in "its largest tensor has 2.0 GiB, and it takes 1.0". */
export function wordsOf({ what, neededBytes, availableBytes }: Shortage): string {
  return `${what} has ${inMiB(neededBytes)} MiB, and it takes ${inMiB(availableBytes)}`
}

/** What fits a worker, for people; undefined where it has said nothing. */
export function limitsText(limits: WorkerLimits | undefined): string | undefined {
  const { maxTensorBytes, maxFileBytes, maxModelBytes } = limits ?? {}
  const parts = [
    maxTensorBytes !== undefined && `tensors of ${inMiB(maxTensorBytes)} MiB`,
    maxFileBytes !== undefined && `files of ${inMiB(maxFileBytes)} MiB`,
    maxModelBytes !== undefined && `models of ${inMiB(maxModelBytes)} MiB`,
  ].filter((part) => part !== false)
  return parts.length > 0 ? `takes ${parts.join(', ')}` : undefined
}

export function inMiB(bytes: number): string {
  const count = bytes / 2 ** 20
  return count < 1 ? count.toPrecision(2) : count.toFixed(count < 10 ? 1 : 0)
}
