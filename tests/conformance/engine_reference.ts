import { seededRandom } from '../../shared/base/random.ts'
import { Tensor } from '../../shared/wire/tensor.ts'

/** Uniform in [-1, 1). */
export function randomTensor(shape: readonly number[], seed: number): Tensor<'float32'> {
  const random = seededRandom(seed)
  const count = shape.reduce((product, size) => product * size, 1)
  return Tensor.from('float32', shape, Float32Array.from({ length: count }, () => 2 * random() - 1))
}

/** Of `network` in engine_models.ts: 16 inputs, 5 outputs. */
export const WEIGHTS = {
  w1: randomTensor([16, 32], 101),
  b1: randomTensor([32], 102),
  w2: randomTensor([32, 5], 103),
  b2: randomTensor([5], 104),
}

/** The same network in float64. */
export function referenceNetwork(x: Tensor<'float32'>): Float64Array {
  const hidden = affine(x.data, WEIGHTS.w1, WEIGHTS.b1).map((value) => Math.max(value, 0))
  const logits = affine(hidden, WEIGHTS.w2, WEIGHTS.b2)
  const columns = WEIGHTS.b2.size
  const result = new Float64Array(logits.length)
  for (let from = 0; from < logits.length; from += columns) {
    const exps = logits.subarray(from, from + columns).map(Math.exp)
    const sum = exps.reduce((total, value) => total + value, 0)
    result.set(exps.map((value) => value / sum), from)
  }
  return result
}

/** x·w + b, x of [rows, w's rows]. */
function affine(x: Float32Array | Float64Array, w: Tensor<'float32'>, b: Tensor<'float32'>): Float64Array {
  const [inner = 0, columns = 0] = w.shape
  const [weights, bias] = [w.data, b.data]
  const result = new Float64Array(x.length / inner * columns)
  for (let i = 0; i < result.length; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns]
    let sum = bias[column] ?? NaN
    for (let k = 0; k < inner; k++) sum += (x[row * inner + k] ?? NaN) * (weights[k * columns + column] ?? NaN)
    result[i] = sum
  }
  return result
}

/** The convolution of engine_models.ts in float64. */
export function referenceConvolution(x: Tensor<'float32'>, w: Tensor<'float32'>, group: number): Float64Array {
  const [rows = 0, channels = 0, height = 0, width = 0] = x.shape
  const [outputs = 0, each = 0] = w.shape
  const [pixels, kernels] = [x.data, w.data]
  const result = new Float64Array(rows * outputs * height * width)
  let at = 0
  for (let n = 0; n < rows; n++) {
    for (let m = 0; m < outputs; m++) {
      const from = Math.floor(m / (outputs / group)) * each
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++) {
          let sum = 0
          for (let c = 0; c < each; c++) {
            for (let k = 0; k < 9; k++) {
              const [row, column] = [i + Math.floor(k / 3) - 1, j + k % 3 - 1]
              if (row < 0 || column < 0 || row >= height || column >= width) continue
              const pixel = pixels[((n * channels + from + c) * height + row) * width + column] ?? NaN
              sum += pixel * (kernels[(m * each + c) * 9 + k] ?? NaN)
            }
          }
          result[at++] = sum
        }
      }
    }
  }
  return result
}
