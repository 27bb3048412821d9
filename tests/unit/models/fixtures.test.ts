import { assert } from 'chai'
import * as ort from 'onnxruntime-web/wasm'
import { describe, it } from 'vitest'
import { readDemoModel, readSamplePicture } from '../../../functions/demo/files.ts'
import { toTensor } from '../../../functions/demo/picture.ts'
import { errorOf, TOLERANCE } from '../../../functions/demo/reference.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { type DType, DTYPE_LIST } from '../../../shared/wire/dtype.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { affine, affineModel, fixedModel, identityModel, pairModel, transposeModel } from '../../fixtures/models.ts'

ort.env.wasm.numThreads = 1

/** Loads a model with onnxruntime-web on WASM, runs it once and lets it go. */
async function run(model: Uint8Array, inputs: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await ort.InferenceSession.create(model)
  try {
    const feeds = Object.entries(inputs).map(([name, { dtype, data, shape }]) => [
      name,
      new ort.Tensor(dtype, data as ort.Tensor.DataType, [...shape]),
    ])
    const results = await session.run(Object.fromEntries(feeds))
    return Object.fromEntries(
      Object.entries(results).map(([name, { type, dims, data }]) => [
        name,
        Tensor.from(type as DType, dims, data as ArrayLike<number>),
      ]),
    )
  } finally {
    await session.release()
  }
}

const EDGES: Record<DType, readonly (number | bigint | string)[]> = {
  bool: [0, 1, 1, 0],
  uint8: [0, 1, 128, 255],
  int8: [-128, -1, 1, 127],
  uint16: [0, 1, 256, 65535],
  int16: [-32768, -1, 1, 32767],
  float16: [-65504, 2 ** -24, 1.5, Infinity],
  uint32: [0, 1, 2 ** 31, 2 ** 32 - 1],
  int32: [-(2 ** 31), -1, 1, 2 ** 31 - 1],
  float32: [-1.5, 2 ** -149, 0.1, Infinity].map(Math.fround),
  uint64: [0n, 1n, 2n ** 63n, 2n ** 64n - 1n],
  int64: [-(2n ** 63n), -1n, 2n ** 53n + 1n, 2n ** 63n - 1n],
  float64: [-1.5, Number.MIN_VALUE, 0.1, Infinity],
  string: ['', 'sea', 'Ünïcode 🐟', 'a\nb'],
}

describe('models written by the ONNX writer, in onnxruntime-web', () => {
  for (const dtype of DTYPE_LIST) {
    it(`identity of ${dtype}`, async () => {
      const { y } = await run(identityModel(dtype), { x: Tensor.from(dtype, [2, 2], EDGES[dtype]) })
      assert.equal(y?.dtype, dtype)
      assert.deepEqual(y?.shape, [2, 2])
      assert.deepEqual([...y?.data ?? []], [...EDGES[dtype]])
    })
  }

  it('affine with a free batch axis', async () => {
    const parameters = { weights: [[1, -2], [0.5, 4], [-3, 0.25]], bias: [10, -20] }
    const rows = [[1, 2, 3], [-4, 5, 6], [0, 0, 0]]
    const { y } = await run(affineModel(parameters), { x: Tensor.from('float32', [3, 3], rows.flat()) })
    assert.deepEqual(y?.shape, [3, 2])
    assert.deepEqual([...y?.data ?? []], rows.flatMap((row) => affine(parameters, row)))
  })

  it('fixed shape', async () => {
    const { y } = await run(fixedModel(), { x: Tensor.from('float32', [2, 3], [1, -2, 3, -4, 5, -6]) })
    assert.deepEqual([...y?.data ?? []], [-1, 2, -3, 4, -5, 6])
  })

  it('two inputs with one free axis', async () => {
    const a = Tensor.from('float32', [1, 2], [3, 4])
    const b = Tensor.from('float32', [1, 2], [5, -6])
    const { sum, product } = await run(pairModel(), { a, b })
    assert.deepEqual([...sum?.data ?? []], [8, -2])
    assert.deepEqual([...product?.data ?? []], [15, -24])
  })

  it('free axes without a batch', async () => {
    const { y } = await run(transposeModel(), { x: Tensor.from('float32', [2, 3], [1, 2, 3, 4, 5, 6]) })
    assert.deepEqual(y?.shape, [3, 2])
    assert.deepEqual([...y?.data ?? []], [1, 4, 2, 5, 3, 6])
  })
})

describe('the demo model in onnxruntime-web', () => {
  it('draws the sample picture as the reference does', async () => {
    const image = toTensor([await readSamplePicture()])
    assert.isBelow(errorOf(await run(await readDemoModel(), { image }), image), TOLERANCE)
  })

  it('draws batches of any size of picture, each as it is drawn alone', async () => {
    const random = seededRandom(7)
    const model = await readDemoModel()
    for (const shape of [[3, 3, 17, 9], [2, 3, 1, 1], [1, 3, 1, 40]]) {
      const count = shape.reduce((product, size) => product * size)
      const image = Tensor.from('float32', shape, Float32Array.from({ length: count }, random))
      assert.isBelow(errorOf(await run(model, { image }), image), TOLERANCE, `shape [${shape}]`)
    }
  })
})
