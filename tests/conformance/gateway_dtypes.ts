import type { DType } from '../../shared/wire/dtype.ts'
import { Tensor } from '../../shared/wire/tensor.ts'

/** For each dtype, values at its edges as JSON carries them: 64-bit integers beyond 2^53 and non-finite numbers as texts. */
export const SAMPLES = {
  bool: [true, false, false, true],
  uint8: [0, 255, 1, 128],
  int8: [-128, 127, 0, -1],
  uint16: [0, 65535, 1, 256],
  int16: [-32768, 32767, 0, -1],
  float16: [65504, -0.5, 2 ** -24, 'Infinity'],
  uint32: [0, 4294967295, 1, 65536],
  int32: [-2147483648, 2147483647, 0, -1],
  float32: [Math.fround(3.4e38), -0.25, 'NaN', '-Infinity'],
  uint64: [0, '18446744073709551615', 1, '9007199254740993'],
  int64: ['-9223372036854775808', '9223372036854775807', 0, -1],
  float64: [Number.MAX_VALUE, Number.MIN_VALUE, -0.1, 'Infinity'],
  string: ['', 'shoal', 'größer 🐟', 'a\tb\n"'],
} as const satisfies Record<DType, readonly [unknown, unknown, unknown, unknown]>

/** The samples of a dtype as a tensor of shape [2, 2]. */
export function sampleTensor(dtype: DType): Tensor {
  const values = SAMPLES[dtype].map((value: unknown) => {
    if (dtype === 'string' || typeof value !== 'string') return value
    return dtype.endsWith('int64') ? BigInt(value) : Number(value)
  })
  return Tensor.from(dtype, [2, 2], values as number[])
}
