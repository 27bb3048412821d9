import { expect, it } from 'vitest'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { affine, affineModel } from '../fixtures/models.ts'
import { startCli, temporaryFolder } from '../fixtures/process.ts'
import { eventually } from './expectations.ts'
import { ask, inferenceAt } from './gateway_http.ts'
import { startInProcess } from './start_node_gateway.ts'

/** 64 KiB of weights, which take twice that. */
const WIDE = {
  weights: Array.from({ length: 128 }, (_, i) => Array.from({ length: 128 }, (_, j) => (i + 2 * j) % 5 - 2)),
  bias: new Array(128).fill(0.5),
}
const NARROW = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }

it('a model that a worker’s owner lends too little memory for is not given to it', async () => {
  await using folder = await temporaryFolder()
  const gateway = await startInProcess([])
  const join = (name: string, memory: string) => {
    const args = ['worker', '--device', 'wasm', '--name', name, '--memory', memory, '--gateway', gateway.url]
    return startCli(args, { env: { HOME: folder.path } })
  }
  const listed = async () => {
    const { workers } = (await ask(gateway.url, 'GET', '/workers')).json
    return Object.fromEntries(workers.map((worker: { name: string }) => [worker.name, worker]))
  }
  const call = async (model: string, { weights, bias }: typeof NARROW) => {
    const row = weights.map((_, i) => i % 3)
    const inputs = { x: Tensor.from('float32', [1, row.length], row) }
    const { outputs } = await inferenceAt(gateway.url).infer({ model, inputs }, { timeoutMs: 60_000 })
    expect([...outputs.y?.data as Float32Array]).toEqual(affine({ weights, bias }, row))
  }
  const workers = [join('little', '100KiB')]
  try {
    const push = (name: string, model: typeof NARROW) =>
      ask(gateway.url, 'PUT', `/models/${name}/versions/1`, { body: affineModel(model) })
    const { sha256, bytes } = (await push('wide', WIDE)).json
    await push('narrow', NARROW)
    await eventually(async () => 'little' in await listed())
    await call('narrow', NARROW)
    const error = await call('wide', WIDE).catch(RpcError.from)
    expect(error).toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(
        /must take 0\.06\d MiB for all that belongs to it, got 1 of which .* takes 0\.049/,
      ),
      details: expect.arrayContaining([{ limit: 'maxModelBytes', neededBytes: bytes, largestBytes: 51_200 }]),
    })
    // Open Inference Protocol callers are told the same.
    const body = JSON.stringify({
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 128], data: new Array(128).fill(1) }],
    })
    const { status, json } = await ask(gateway.url, 'POST', '/v2/models/wide/infer', { body })
    expect([status, json.error]).toEqual([400, expect.stringContaining('must take')])
    expect((await listed()).little).toMatchObject({
      limits: { maxModelBytes: 51_200, maxFileBytes: expect.any(Number) },
      models: [expect.not.stringContaining(sha256)],
      refused: [{
        model: sha256,
        reason: expect.stringMatching(/^too large: all that belongs to it has .* MiB, and it/),
      }],
    })

    workers.push(join('enough', '1MiB'))
    await eventually(async () => 'enough' in await listed())
    for (let i = 0; i < 4; i++) await call('wide', WIDE)
    const { little, enough } = await listed()
    expect([little.models, enough.models]).toEqual([
      expect.not.arrayContaining([sha256]),
      expect.arrayContaining([sha256]),
    ])
    expect(enough).not.toHaveProperty('refused')
    const report = (await ask(gateway.url, 'GET', '/operations/report')).json
    expect(report.parts.workers).toContainEqual(expect.objectContaining({
      name: 'little',
      limits: expect.stringMatching(/^takes files of 1536 MiB, models of 0\.049 MiB$/),
      refused: expect.stringContaining('too large'),
    }))
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()))
    await gateway.close()
  }
}, 120_000)
