import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { LIMITS } from '../../shared/base/limits.ts'
import { silentLog } from '../../shared/base/log.ts'
import { newMlp } from '../../shared/training/new_models.ts'
import { writeSafetensors } from '../../shared/training/safetensors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { startNodeGateway } from '../../functions/gateway/node.ts'
import { startCli } from '../fixtures/process.ts'
import { eventsOf, resultOf } from './training_harness.ts'

const [INPUTS, CLASSES, ROWS] = [64, 8, 32]

it('a model of more parameters than a call may bring trains to the same bits in one process and over sockets', {
  timeout: 240_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-large-'))
  const file = (name: string) => join(folder, name)
  writeFileSync(file('model.onnx'), newMlp({ inputs: INPUTS, hidden: [4096, 2400], outputs: CLASSES, seed: 2 }))
  const x = Float32Array.from({ length: ROWS * INPUTS }, (_, i) => Math.sin(i * i))
  const labels = Int32Array.from({ length: ROWS }, (_, i) => i % CLASSES)
  writeFileSync(
    file('data.safetensors'),
    writeSafetensors({
      x: Tensor.from('float32', [ROWS, INPUTS], x),
      labels: Tensor.from('int32', [ROWS], labels),
    }),
  )
  const gateway = await startNodeGateway({
    host: '127.0.0.1',
    port: 0,
    dataDir: file('gateway'),
    env: {},
    log: silentLog,
  })
  const env = { HOME: folder }
  const train = (out: string, more: readonly string[]) => {
    const files = ['--model', file('model.onnx'), '--data', file('data.safetensors'), '--out', file(out)]
    const settings = ['--batch', '16', '--shards', '2', '--optimizer', 'momentum', '--validation', '0', '--json']
    return startCli(['train', ...files, ...settings, ...more], { env })
  }
  const worker = startCli(['worker', '--gateway', gateway.url, '--device', 'wasm'], { env })
  try {
    const alone = train('alone.onnx', [])
    const expected = await resultOf(alone)
    const prepared = eventsOf(alone).find(({ type }) => type === 'prepared') as { parameters?: number } | undefined
    expect(prepared?.parameters).toBeGreaterThan(10_000_000)
    expect((prepared?.parameters ?? 0) * 4).toBeGreaterThan(LIMITS.maxMessageBytes)
    await worker.wrote(/serving/)
    expect(await resultOf(train('remote.onnx', ['--gateway', gateway.url]))).toBe(expected)
  } finally {
    await worker.stop()
    await gateway.close()
    rmSync(folder, { recursive: true })
  }
})
