import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import * as ort from 'onnxruntime-web/wasm'
import { describe, expect, it } from 'vitest'
import { readDigitsModel } from '../../../functions/demo/files.ts'
import { sha256Hex } from '../../../shared/base/bytes.ts'
import { readSignature } from '../../../shared/models/signature.ts'
import { readIdx } from '../../../shared/training/data_idx.ts'

ort.env.wasm.numThreads = 1

const DATA = new URL('../../../../shared/data/mnist/', import.meta.url)
const PIXELS = 28 * 28
/** What training held back: the last rows. */
const VALIDATION = 1996

describe('the digits model', () => {
  it('is the file that its README describes', async () => {
    const readme = await readFile(new URL('../../../functions/demo/README.md', import.meta.url), 'utf8')
    const model = await readDigitsModel()
    expect(readme).toContain(`\`${await sha256Hex(model)}\``)
    expect(readme).toContain(`${model.length.toLocaleString('en')} bytes`)
    expect(model.length).toBeLessThan(200_000)
  })

  it('takes any number of pictures, so that calls of it may join', async () => {
    const { signature, opset } = readSignature(await readDigitsModel())
    expect(signature).toEqual({
      inputs: [{ name: 'x', dtype: 'float32', shape: [-1, 1, 28, 28], axes: ['N', '', '', ''] }],
      outputs: [{ name: 'logits', dtype: 'float32', shape: [-1, 10], axes: ['N', ''] }],
      batchable: true,
    })
    expect(opset).toBeLessThanOrEqual(21)
  })

  it.skipIf(!existsSync(DATA))('reads 97 % of the pictures in ../shared/data that training did not see', async () => {
    const read = async (name: string) => (await readIdx(await readFile(new URL(name, DATA)))).data as Uint8Array
    const images = (await read('train-images-idx3-ubyte.gz')).subarray(-VALIDATION * PIXELS)
    const labels = (await read('train-labels-idx1-ubyte.gz')).subarray(-VALIDATION)
    const session = await ort.InferenceSession.create(await readDigitsModel())
    try {
      const x = new ort.Tensor('float32', Float32Array.from(images, (byte) => byte / 255), [VALIDATION, 1, 28, 28])
      const { logits } = await session.run({ x })
      const scores = logits?.data as Float32Array
      const classes = Array.from(labels, (_, n) => {
        const row = scores.subarray(10 * n, 10 * n + 10)
        return row.indexOf(Math.max(...row))
      })
      const right = classes.filter((digit, n) => digit === labels[n]).length
      expect(right / VALIDATION).toBeGreaterThanOrEqual(0.97)
    } finally {
      await session.release()
    }
  })
})
