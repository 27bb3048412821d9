import { Tensor } from '../wire/tensor.ts'
import { philox } from './philox.ts'

/** A dropout of the step graph: the caller feeds its mask. */
export interface DropoutMask {
  /** The step graph's input. */
  readonly name: string
  /** Axis 0 is the batch, or a multiple of it in the batch's order. */
  readonly shape: readonly number[]
  /** The share that is dropped, from 0 up to 1. */
  readonly ratio: number
}

/** What a mask is a function of. It does not depend on who computes which rows, so neither does training. */
export interface DropoutKey {
  /** Of the run. */
  readonly seed: number
  readonly step: number
  /** The sample in each row of the batch, by a number of the caller's: its place in the step, or in the data set. */
  readonly samples: readonly number[]
}

/**
 * The masks of one step, by input: 0 where dropped, 1 / (1 − ratio) elsewhere.
 * Counter-based, so that a sample's mask is the same in whichever shard, row and order it is computed.
 */
export function dropoutMasks(
  masks: readonly DropoutMask[],
  { seed, step, samples }: DropoutKey,
): Record<string, Tensor> {
  return Object.fromEntries(masks.map(({ name, shape, ratio }, index) => {
    const mask = new Float32Array(shape.reduce((count, size) => count * size, 1))
    const perSample = mask.length / samples.length
    const kept = Math.fround(1 / (1 - ratio))
    const threshold = ratio * 2 ** 32
    for (const [row, sample] of samples.entries()) {
      for (let i = 0; i < perSample; i += 4) {
        const words = philox([i / 4, sample, step, index], [seed, DOMAIN])
        for (let lane = 0; lane < 4 && i + lane < perSample; lane++) {
          mask[row * perSample + i + lane] = (words[lane] ?? 0) < threshold ? 0 : kept
        }
      }
    }
    return [name, Tensor.from('float32', shape, mask)]
  }))
}

/** Sets these numbers apart from whatever else a run draws from its seed. */
const DOMAIN = 0x64726f70
