/** Side of MNIST's pictures, in pixels. */
export const DIGIT_SIDE = 28
/** The longer side of the digit in them. http://yann.lecun.com/exdb/mnist/ */
const BOX_SIDE = 20

/**
 * A drawing as MNIST would hold it: the ink alone, scaled until its longer side has 20 pixels, each of which is the mean
 * of the area that it covers, with its centre of mass in the middle of 28×28. A model is as good as this is faithful:
 * trained on such pictures, it misreads digits that stand or weigh otherwise.
 * @param ink `width` values a row, 0 (paper) to 1
 * @returns 28 × 28 values from 0 to 1, row by row; undefined for an empty sheet
 */
export function toDigit(ink: Float32Array, width: number): Float32Array<ArrayBuffer> | undefined {
  const extent = measure(ink, width)
  if (!extent) return undefined
  const { left, top, right, bottom, massX, massY } = extent
  const scale = BOX_SIDE / Math.max(right - left, bottom - top)
  // Where the middle of the mass would push a part of the digit over the rim, the rim wins.
  const placed = (from: number, to: number, mass: number) =>
    Math.min(DIGIT_SIDE - (to - from) * scale, Math.max(0, DIGIT_SIDE / 2 - (mass - from) * scale))
  const [atX, atY] = [placed(left, right, massX), placed(top, bottom, massY)]
  const columns = shares((x) => left + (x - atX) / scale, width)
  const rows = shares((y) => top + (y - atY) / scale, ink.length / width)
  const digit = new Float32Array(DIGIT_SIDE * DIGIT_SIDE)
  rows.forEach((row, y) => {
    columns.forEach((column, x) => {
      let sum = 0
      for (const [i, rowShare] of row) {
        for (const [j, columnShare] of column) sum += rowShare * columnShare * (ink[i * width + j] ?? 0)
      }
      digit[y * DIGIT_SIDE + x] = Math.min(1, sum)
    })
  })
  return digit
}

interface Extent {
  left: number
  top: number
  /** One past the last column, and row, with ink. */
  right: number
  bottom: number
  massX: number
  massY: number
}

function measure(ink: Float32Array, width: number): Extent | undefined {
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0]
  let [mass, sumX, sumY] = [0, 0, 0]
  ink.forEach((value, i) => {
    if (value === 0) return
    const [x, y] = [i % width, Math.floor(i / width)]
    left = Math.min(left, x)
    top = Math.min(top, y)
    right = Math.max(right, x + 1)
    bottom = Math.max(bottom, y + 1)
    mass += value
    sumX += value * (x + 0.5)
    sumY += value * (y + 0.5)
  })
  return mass === 0 ? undefined : { left, top, right, bottom, massX: sumX / mass, massY: sumY / mass }
}

/** For each of the 28 pixels of one axis: which of the drawing's it covers, and the share that each has in it. */
function shares(toSource: (edge: number) => number, size: number): [index: number, share: number][][] {
  return Array.from({ length: DIGIT_SIDE }, (_, pixel) => {
    const [from, to] = [toSource(pixel), toSource(pixel + 1)]
    const covered: [number, number][] = []
    for (let i = Math.max(0, Math.floor(from)); i < Math.min(size, to); i++) {
      covered.push([i, (Math.min(to, i + 1) - Math.max(from, i)) / (to - from)])
    }
    return covered
  })
}
