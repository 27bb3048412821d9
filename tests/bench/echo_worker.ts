/**
 * `echo_worker.ts GATEWAY_PORT [COUNT]`: workers whose engine gives back its input: what is left to measure is the way
 * there and back. Ready once all of them serve.
 */
import '../../functions/node_heap.ts'
import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import type { Engine } from '../../shared/engine/engine.ts'
import { enrol } from '../../functions/worker/host_worker.ts'
import { Agent } from '../../shared/worker/agent.ts'
import { httpModels } from '../../shared/worker/model_source.ts'
import { ready } from './ready.ts'

const gateway = `http://127.0.0.1:${process.argv[2]}`
const count = Number(process.argv[3] ?? 1)
/** Joining at once, so that the gateway's accept queue never overflows. */
const JOINING = 20

const engine: Engine = {
  info: {
    device: 'wasm',
    build: 'echo',
    adapter: 'echo',
    fallbackAdapter: false,
    fp16: false,
    reason: 'a benchmark',
  },
  load: () =>
    Promise.resolve({ placement: 'full', warm: 'zeros' }) as ReturnType<
      Engine['load']
    >,
  run: (_, inputs) =>
    Promise.resolve({
      outputs: { y: inputs.x ?? raise() },
      timings: { waitMs: 0, runMs: 0 },
    }),
  unload: () => Promise.resolve(),
  close: () => Promise.resolve(),
}

let left = count
await Promise.all(Array.from({ length: JOINING }, async () => {
  while (left-- > 0) await join(`echo-${left}`)
}))
ready(0)

function join(name: string): Promise<void> {
  return new Promise((resolve) => {
    new Agent({
      name,
      engine,
      models: httpModels(gateway),
      enrol: (signal) => enrol(gateway, {}, signal),
      clock: systemClock,
      random: Math.random,
      log: silentLog,
      onState: ({ phase }) => phase === 'serving' && resolve(),
    })
  })
}

function raise(): never {
  throw new Error('Cannot echo: input "x" is required')
}
