import type { Clock } from '../base/clock.ts'
import { seededRandom } from '../base/random.ts'
import { RpcError } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'
import type { Engine } from './engine.ts'
import { differenceOf } from './golden.ts'

/** Made by infra/make_probe_model.ts: `product` = a·b, `picture` = relu(conv(image, kernel)). */
export const PROBE_MODEL = Uint8Array.from(
  atob(
    'CAg6zAIKIAoBYQoBYhIHcHJvZHVjdBoHcHJvZHVjdCIGTWF0TXVsCksKBWltYWdlCgZrZXJuZWwSBWVkZ2VzGgVlZGdlcyIEQ29udioVCgxrZXJuZWxfc2hhcGVCAgMDoAEHKg8KBHBhZHNCBAEBAQGgAQcKHwoFZWRnZXMSB3BpY3R1cmUaB3BpY3R1cmUiBFJlbHUSBXByb2JlWhUKAWESEAoOCAESCgoDEgFNCgMSAUtaFQoBYhIQCg4IARIKCgMSAUsKAxIBTlohCgVpbWFnZRIYChYIARISCgIIAQoCCAQKAxIBSAoDEgFXWiAKBmtlcm5lbBIWChQIARIQCgIICAoCCAQKAggDCgIIA2IbCgdwcm9kdWN0EhAKDggBEgoKAxIBTQoDEgFOYiMKB3BpY3R1cmUSGAoWCAESEgoCCAEKAggICgMSAUgKAxIBV0ICEBE=',
  ),
  (char) => char.charCodeAt(0),
)

const KEY = 'probe'
/** Sides of what is computed here as well, and of what is timed: 28 million multiplications, a few ms on any device. */
const SMALL = { rows: 5, inner: 33, columns: 7, side: 9 }
const TIMED = { rows: 256, inner: 432, columns: 256, side: 1 }
const TIMED_RUNS = 3

/**
 * A short golden run when an engine has started: what it computes is compared with arithmetic done here, and then it is
 * timed, what goes to the device and comes back included.
 * @returns billions of operations (multiplications and additions) per second
 * @throws RpcError `failed_precondition` if the device computes wrong
 */
export async function probe(engine: Engine, clock: Pick<Clock, 'now'>): Promise<number> {
  await engine.load(KEY, PROBE_MODEL, { trusted: true })
  try {
    const small = draw(SMALL)
    const { outputs } = await engine.run(KEY, small)
    const difference = differenceOf({ product: multiply(small), picture: convolve(small) }, outputs)
    if (difference) {
      throw new RpcError(
        'failed_precondition',
        `Cannot use ${engine.info.adapter}: it computes wrong, ${difference} (a driver's fault, as a rule: update it)`,
      )
    }
    const timed = draw(TIMED)
    let bestMs = Infinity
    // The first compiles.
    for (let i = 0; i <= TIMED_RUNS; i++) {
      const startedMs = clock.now()
      await engine.run(KEY, timed)
      if (i > 0) bestMs = Math.min(bestMs, clock.now() - startedMs)
    }
    const operations = 2 * TIMED.rows * TIMED.inner * TIMED.columns
    return Math.round(operations / Math.max(bestMs, 0.01) / 1e4) / 100
  } finally {
    await engine.unload(KEY)
  }
}

type Sizes = typeof SMALL
type Inputs = Record<'a' | 'b' | 'image' | 'kernel', Tensor<'float32'>>

function draw({ rows, inner, columns, side }: Sizes): Inputs {
  const random = seededRandom(1)
  const uniform = (...shape: number[]) =>
    Tensor.from('float32', shape, Float32Array.from({ length: product(shape) }, () => 2 * random() - 1))
  return {
    a: uniform(rows, inner),
    b: uniform(inner, columns),
    image: uniform(1, 4, side, side),
    kernel: uniform(8, 4, 3, 3),
  }
}

function multiply({ a, b }: Inputs): Tensor {
  const [rows = 0, inner = 0] = a.shape
  const [, columns = 0] = b.shape
  const result = new Float32Array(rows * columns)
  for (let i = 0; i < result.length; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns]
    let sum = 0
    for (let k = 0; k < inner; k++) sum += (a.data[row * inner + k] ?? NaN) * (b.data[k * columns + column] ?? NaN)
    result[i] = sum
  }
  return Tensor.from('float32', [rows, columns], result)
}

/** Padded by one with zeros; negative numbers become 0. */
function convolve({ image, kernel }: Inputs): Tensor {
  const [, channels = 0, side = 0] = image.shape
  const [features = 0] = kernel.shape
  const result = new Float32Array(features * side * side)
  const pixel = (c: number, i: number, j: number) =>
    i < 0 || j < 0 || i >= side || j >= side ? 0 : image.data[(c * side + i) * side + j] ?? NaN
  let at = 0
  for (let f = 0; f < features; f++) {
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) {
        let sum = 0
        for (let c = 0; c < channels; c++) {
          for (let k = 0; k < 9; k++) {
            const weight = kernel.data[(f * channels + c) * 9 + k] ?? NaN
            sum += weight * pixel(c, i + Math.floor(k / 3) - 1, j + k % 3 - 1)
          }
        }
        result[at++] = Math.max(sum, 0)
      }
    }
  }
  return Tensor.from('float32', [1, features, side, side], result)
}
