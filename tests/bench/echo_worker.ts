/** A worker whose engine gives back its input: what is left to measure is the way there and back. */
import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import type { Engine } from '../../shared/engine/engine.ts'
import { openSocket } from '../../functions/worker/node_socket.ts'
import { Agent } from '../../shared/worker/agent.ts'
import { httpModels } from '../../shared/worker/model_source.ts'

const gateway = `http://127.0.0.1:${process.argv[2]}`
const engine: Engine = {
  info: { device: 'wasm', build: 'echo', adapter: 'echo', fallbackAdapter: false, fp16: false, reason: 'a benchmark' },
  load: () => Promise.resolve({ placement: 'full', warm: 'zeros' }) as ReturnType<Engine['load']>,
  run: (_, inputs) => Promise.resolve({ outputs: { y: inputs.x ?? raise() }, timings: { waitMs: 0, runMs: 0 } }),
  unload: () => Promise.resolve(),
  close: () => Promise.resolve(),
}
new Agent({
  name: 'echo',
  engine,
  models: httpModels(gateway),
  async enrol() {
    const { token, connect } = await (await fetch(`${gateway}/workers/enrol`, { method: 'POST' })).json() as {
      token: string
      connect: string
    }
    return { token, socket: openSocket(gateway.replace('http', 'ws') + connect) }
  },
  clock: systemClock,
  random: Math.random,
  log: silentLog,
  onState: ({ phase }) => phase === 'serving' && process.send?.({ port: 0 }),
})

function raise(): never {
  throw new Error('Cannot echo: input "x" is required')
}
