import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { LIMITS } from '../../shared/base/limits.ts'
import { node, tensorInfo, toTensorProto } from '../../shared/models/onnx.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { modelOf } from '../fixtures/models.ts'
import { runCli, temporaryFolder } from '../fixtures/process.ts'
import { ask, inferenceAt } from './gateway_http.ts'
import { joinHostWorker } from './gateway_suite.ts'
import { startInProcess } from './start_node_gateway.ts'

it('a model larger than one body is pushed in pieces, and runs', async () => {
  await using folder = await temporaryFolder()
  const rows = Math.ceil(LIMITS.maxModelBytes / 4 / 1024) + 1
  const values = Float32Array.from({ length: rows * 1024 }, (_, i) => i % 1000)
  const model = modelOf({
    input: [tensorInfo('row', 'int64', ['N'])],
    output: [tensorInfo('y', 'float32', ['N', 1024])],
    initializer: [toTensorProto('table', Tensor.from('float32', [rows, 1024], values))],
    node: [node('Gather', ['table', 'row'], ['y'])],
  })
  expect(model.length).toBeGreaterThan(LIMITS.maxModelBytes)
  const path = join(folder.path, 'large.onnx')
  await writeFile(path, model)
  const gateway = await startInProcess([])
  const worker = await joinHostWorker(gateway.url, {})
  try {
    const tooLong = await ask(gateway.url, 'PUT', '/models/large/versions/1', { body: model }).catch(() => undefined)
    if (tooLong) expect(tooLong.status).toBe(413)
    const pushed = await runCli(['models', 'push', path, '--name', 'large', '--gateway', gateway.url, '--json'])
    expect(pushed.stderr).toBe('')
    const manifest = JSON.parse(pushed.stdout)
    expect(manifest).toMatchObject({ bytes: model.length, files: [{ path: 'large.onnx', bytes: model.length }] })
    expect(manifest.pieces).toHaveLength(Math.ceil(model.length / LIMITS.maxPieceBytes))
    expect(manifest.signature.inputs).toEqual([{ name: 'row', dtype: 'int64', shape: [-1], axes: ['N'] }])
    const row = Tensor.from('int64', [2], [BigInt(rows - 1), 3n])
    const { outputs } = await inferenceAt(gateway.url).infer({ model: 'large', inputs: { row } }, { timeoutMs: 60_000 })
    const first = (rows - 1) * 1024
    expect(outputs.y?.data).toEqual(Float32Array.of(...values.subarray(first), ...values.subarray(3 * 1024, 4 * 1024)))
  } finally {
    await worker.stop()
    await gateway.close()
  }
}, 120_000)
