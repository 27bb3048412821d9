import { Tensor } from '../../shared/wire/tensor.ts'

/**
 * What the demo model must answer, in plain arithmetic: the yardstick for any worker and any picture. The numbers below
 * are the model's weights too (infra/make_demo_model.ts).
 */

/** A smoothing kernel: the outer product of this with itself, over 256. */
export const SMOOTHING = [1, 4, 6, 4, 1]
/** A change of colour from pixel to pixel below the first is no outline, above the second a full one. */
export const OUTLINE_FROM = 0.1
export const OUTLINE_TO = 0.4
/** Steps of colour in each channel. */
export const STEPS = 4

/** How far a right answer may be off anywhere: 32-bit floats end up within 1e-6; 16-bit ones would not pass. */
export const TOLERANCE = 1e-4

export interface CartoonAnswer {
  /** [N, 1, H, W], 0 to 1: how strong an outline runs through each pixel. */
  outlines: Tensor<'float32'>
  /** [N, 3, H, W], 0 to 1: the picture in few colours with its outlines drawn black. */
  cartoon: Tensor<'float32'>
  /** [N, 3]: the mean red, green and blue. */
  color: Tensor<'float32'>
}

/** @param images float32 [N, 3, H, W], RGB from 0 to 1 */
export function referenceAnswer(images: Tensor<'float32'>): CartoonAnswer {
  const [count = 0, , height = 0, width = 0] = images.shape
  const pixels = height * width
  const outlines = new Float32Array(count * pixels)
  const cartoon = new Float32Array(count * 3 * pixels)
  const color = new Float32Array(count * 3)
  for (let n = 0; n < count; n++) {
    const planes = [0, 1, 2].map((channel) => {
      const at = (n * 3 + channel) * pixels
      return Float64Array.from(images.data.subarray(at, at + pixels))
    })
    const smooth = planes.map((plane) => smoothed(plane, width, height))
    const outline = outlineOf(smooth, width, height)
    outlines.set(outline, n * pixels)
    planes.forEach((plane, channel) => {
      color[n * 3 + channel] = plane.reduce((sum, value) => sum + value, 0) / pixels
      const stepped = smooth[channel]?.map((value, i) => inSteps(value) * (1 - (outline[i] ?? 0)))
      if (stepped) cartoon.set(stepped, (n * 3 + channel) * pixels)
    })
  }
  return {
    outlines: Tensor.from('float32', [count, 1, height, width], outlines),
    cartoon: Tensor.from('float32', [count, 3, height, width], cartoon),
    color: Tensor.from('float32', [count, 3], color),
  }
}

/** The largest difference between an answer and the right one. NaN, or Infinity if shapes differ, is never within TOLERANCE. */
export function errorOf(answer: Readonly<Record<string, Tensor>>, images: Tensor<'float32'>): number {
  let largest = 0
  for (const [name, expected] of Object.entries(referenceAnswer(images))) {
    const data = answer[name]?.data
    if (!(data instanceof Float32Array) || data.length !== expected.data.length) return Infinity
    for (const [i, value] of expected.data.entries()) {
      const error = Math.abs((data[i] ?? NaN) - value)
      // NaN compares false with everything, so it is let through by name.
      if (error > largest || Number.isNaN(error)) largest = error
      if (Number.isNaN(largest)) return largest
    }
  }
  return largest
}

type Plane = Float64Array

/** Pixels outside of a plane are those at its edge. */
function smoothed(plane: Plane, width: number, height: number): Plane {
  return convolve(plane, width, height, 2, (dx, dy) => (SMOOTHING[dx + 2] ?? 0) * (SMOOTHING[dy + 2] ?? 0) / 256)
}

/** The length of the slope over all three channels (root of the mean of squares), by Sobel's kernels. */
function outlineOf(smooth: readonly Plane[], width: number, height: number): Plane {
  const squares = new Float64Array(width * height)
  for (const plane of smooth) {
    const slopeX = convolve(plane, width, height, 1, (dx, dy) => dx * (2 - Math.abs(dy)) / 4)
    const slopeY = convolve(plane, width, height, 1, (dx, dy) => dy * (2 - Math.abs(dx)) / 4)
    squares.forEach((sum, i) => squares[i] = sum + ((slopeX[i] ?? 0) ** 2 + (slopeY[i] ?? 0) ** 2) / 3)
  }
  return squares.map((square) =>
    Math.min(1, Math.max(0, (Math.sqrt(square) - OUTLINE_FROM) / (OUTLINE_TO - OUTLINE_FROM)))
  )
}

function convolve(
  plane: Plane,
  width: number,
  height: number,
  reach: number,
  weight: (dx: number, dy: number) => number,
): Plane {
  const clamp = (value: number, size: number) => Math.min(size - 1, Math.max(0, value))
  return plane.map((_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)]
    let sum = 0
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        sum += weight(dx, dy) * (plane[clamp(y + dy, height) * width + clamp(x + dx, width)] ?? 0)
      }
    }
    return sum
  })
}

/** A staircase with rounded steps. It has no jumps, so that rounding on a GPU cannot move a pixel by a whole step. */
function inSteps(value: number): number {
  const step = Math.floor(STEPS * value)
  const round = (t: number) => t * t * (3 - 2 * t)
  return (step + round(round(STEPS * value - step))) / STEPS
}
