import { encode } from '../../shared/wire/codec.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { identityModel } from '../fixtures/models.ts'
import { startChild } from './child.ts'
import { figure, type Report, report } from './figures.ts'
import { load } from './load.ts'

const ROUNDS = 7
const REQUESTS = 10_000
const CONNECTIONS = 32

/** Caller → gateway → relay → worker → back, beside the same HTTP → WebSocket → HTTP echo without Shoal. */
export async function relayBench(): Promise<Report> {
  const bare = await startChild('./bare_echo_server.ts')
  const bareWorker = await startChild('./bare_echo_worker.ts', [String(bare.port)])
  const gateway = await startChild('./gateway_server.ts')
  const url = `http://127.0.0.1:${gateway.port}`
  await fetch(`${url}/models/echo/versions/1`, { method: 'PUT', body: identityModel('float32', ['N', 64]) })
  const worker = await startChild('./echo_worker.ts', [String(gateway.port)])

  const x = Tensor.from('float32', [1, 64], new Float32Array(64).fill(0.5))
  const ours = {
    path: '/rpc/shoal.Inference/infer',
    headers: { 'content-type': 'application/msgpack' },
    body: encode({ model: 'echo', inputs: { x } }),
    connections: CONNECTIONS,
    requests: REQUESTS,
  }
  const floor = { ...ours, path: '/', headers: {}, body: x.bytes }
  await load(gateway.port, ours)
  await load(bare.port, floor)
  const ratios: number[] = []
  const rates = { ours: [] as number[], floor: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    const [our, bareRate] = [await load(gateway.port, ours), await load(bare.port, floor)]
    ratios.push(our / bareRate)
    rates.ours.push(our)
    rates.floor.push(bareRate)
  }
  for (const child of [worker, bareWorker, gateway, bare]) await child.stop()
  const setup =
    `256 B tensor, ${CONNECTIONS} connections; Shoal: registry, routing, signature check, pool, one worker that echoes; floor: node:http + ws, the same hops, raw bytes`
  return report('relay', setup, ['hono', '@hono/node-server', 'ws', 'zod'], {
    throughput_vs_bare_echo: figure(ratios, 'ratio'),
    calls_per_s: figure(rates.ours, '1/s'),
    bare_echo_per_s: figure(rates.floor, '1/s'),
  })
}
