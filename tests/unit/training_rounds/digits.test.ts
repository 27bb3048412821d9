import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SHARED_DATA } from '../../../infra/tally.ts'
import { readIdx } from '../../../shared/training/data_idx.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { ROOT, runCli, temporaryFolder } from '../../fixtures/process.ts'
import { wasmEngine } from './local_pool.ts'

const DIGITS = join(ROOT, SHARED_DATA, 'mnist')
const TRAINING_ROWS = 6000

/** A small network and two passes: enough to learn, short enough for a test. */
describe.skipIf(!existsSync(DIGITS))(`digits (needs ${SHARED_DATA})`, () => {
  it('are learned in one command, and the written model reads them in any runtime', { timeout: 240_000 }, async () => {
    await using folder = await temporaryFolder()
    const [untrained, trained] = [join(folder.path, 'untrained.onnx'), join(folder.path, 'trained.onnx')]
    const shape = ['--input', '1x28x28', '--classes', '10', '--filters', '8,16', '--seed', '1']
    expect(await runCli(['models', 'new', 'cnn', ...shape, '--out', untrained])).toMatchObject({ code: 0 })

    const images = await readIdx(readFileSync(join(DIGITS, 'train-images-idx3-ubyte.gz')))
    const labels = await readIdx(readFileSync(join(DIGITS, 'train-labels-idx1-ubyte.gz')))
    const rows = images.shape[0] ?? 0
    const validation = rows - TRAINING_ROWS
    const rate = ['--lr', '5e-3', '--schedule', 'cosine', '--epochs', '2', '--batch', '64', '--shards', '4']
    const args = [
      '--model',
      untrained,
      '--data',
      DIGITS,
      '--out',
      trained,
      '--validation',
      String(validation),
      '--json',
    ]
    const { code, stdout, stderr } = await runCli(['train', ...args, ...rate, '--workers', '1'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const written = stdout.trim().split('\n').map((line) => JSON.parse(line) as Written).find(({ type }) =>
      type === 'written'
    )
    expect(written?.evaluation.accuracy).toBeGreaterThan(0.94)

    const engine = await wasmEngine()
    await engine.load('trained', readFileSync(trained))
    const pixels = Float32Array.from(images.bytes.subarray(TRAINING_ROWS * 784), (value) => value / 255)
    const { outputs } = await engine.run('trained', { x: Tensor.from('float32', [validation, 1, 28, 28], pixels) })
    await engine.close()
    const logits = outputs.logits?.data as Float32Array
    let right = 0
    for (let row = 0; row < validation; row++) {
      const scores = logits.subarray(row * 10, row * 10 + 10)
      if (scores.indexOf(Math.max(...scores)) === labels.bytes[TRAINING_ROWS + row]) right++
    }
    expect(right).toBe(Math.round((written?.evaluation.accuracy ?? 0) * validation))
    expect(readFileSync(join(folder.path, 'trained.onnx.run/loss.csv'), 'utf8').trim().split('\n')).toHaveLength(189)
  })
})

interface Written {
  type: string
  evaluation: { accuracy: number }
}
