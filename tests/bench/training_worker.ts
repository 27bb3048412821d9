/**
 * `training_worker.ts GATEWAY_PORT`: a worker as `shoal worker` runs it, on WASM.
 * `training_worker.ts GATEWAY_PORT COUNT DELAY_MS LENGTH`: so many workers whose engine computes nothing: after a fixed
 * time it answers with so many values. Ready once all of them serve.
 */
import '../../functions/node_heap.ts'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import type { Engine } from '../../shared/engine/engine.ts'
import { httpData } from '../../shared/training/http_data.ts'
import { workerTraining } from '../../shared/training/worker_training.ts'
import { Agent } from '../../shared/worker/agent.ts'
import { httpModels } from '../../shared/worker/model_source.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { enrol, startHostWorker } from '../../functions/worker/host_worker.ts'
import { ready } from './ready.ts'

const gateway = `http://127.0.0.1:${process.argv[2]}`
const [count = 0, delayMs = 0, length = 0] = process.argv.slice(3).map(Number)

if (count === 0) {
  const cacheDir = mkdtempSync(join(tmpdir(), 'shoal-bench-'))
  process.on('exit', () => rmSync(cacheDir, { recursive: true, force: true }))
  await new Promise<void>((resolve, reject) => {
    const options = {
      gateway,
      headers: {},
      wish: 'wasm',
      name: 'bench',
      cacheDir,
      log: silentLog,
    } as const
    startHostWorker({
      ...options,
      onState: ({ phase }) => phase === 'serving' && resolve(),
    }).catch(reject)
  })
} else {
  await Promise.all(
    Array.from({ length: count }, (_, i) => joinDelayed(`delayed-${i}`)),
  )
}
ready(0)

function joinDelayed(name: string): Promise<void> {
  const engine = delayedEngine()
  const models = httpModels(gateway)
  return new Promise((resolve) => {
    new Agent({
      name,
      engine,
      models,
      services: [
        workerTraining({
          engine,
          source: httpData((sha256, signal) => models.get(sha256, signal)),
        }),
      ],
      enrol: (signal) => enrol(gateway, {}, signal),
      clock: systemClock,
      random: Math.random,
      log: silentLog,
      onState: ({ phase }) => phase === 'serving' && resolve(),
    })
  })
}

function delayedEngine(): Engine {
  // Loss and sample weight stand at the end; a weight of 0 would be no step.
  const values = new Float32Array(length).fill(1)
  return {
    info: {
      device: 'wasm',
      build: 'delay',
      adapter: 'delay',
      fallbackAdapter: false,
      fp16: false,
      reason: 'a benchmark',
    },
    load: () => Promise.resolve({ placement: 'full' }),
    async run() {
      await sleep(delayMs)
      const outputs = {
        // Whoever asked may add to it.
        'shoal.step': Tensor.from('float32', [length], values.slice()),
      }
      return { outputs, timings: { waitMs: 0, runMs: delayMs } }
    },
    unload: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
}
