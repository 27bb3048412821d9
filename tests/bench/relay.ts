import { encode } from '../../shared/wire/codec.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { identityModel } from '../fixtures/models.ts'
import { startChild, stopAll } from './child.ts'
import { cpuUs } from './cpu.ts'
import { type Report, report, Series } from './figures.ts'
import { load } from './load.ts'

const ROUNDS = 7
const CONNECTIONS = 32
const FOR_MS = { warm: 1_500, measured: 1_500 }

const SETUP = [
  `256 B tensor, ${CONNECTIONS} connections`,
  'Shoal: registry, routing, signature check, pool, one worker that echoes; floor: node:http + ws, the same hops, raw bytes',
  'cpu: user + system of gateway and worker, and of the two processes of the floor',
].join('; ')

/** Caller → gateway → relay → worker → back, beside the same HTTP → WebSocket → HTTP echo without Shoal. */
export async function relayBench(): Promise<Report> {
  const started: { stop(): Promise<void> }[] = []
  const start = async (file: string, args: readonly string[] = []) => {
    const child = await startChild(file, args)
    started.push(child)
    return child
  }
  try {
    const bare = await start('./bare_echo_server.ts')
    const bareWorker = await start('./bare_echo_worker.ts', [String(bare.port)])
    const gateway = await start('./gateway_server.ts')
    const url = `http://127.0.0.1:${gateway.port}`
    await fetch(`${url}/models/echo/versions/1`, {
      method: 'PUT',
      body: identityModel('float32', ['N', 64]),
    })
    const worker = await start('./echo_worker.ts', [String(gateway.port)])

    const x = Tensor.from('float32', [1, 64], new Float32Array(64).fill(0.5))
    const request = {
      path: '/rpc/shoal.Inference/infer',
      headers: { 'content-type': 'application/msgpack' },
      body: encode({ model: 'echo', inputs: { x } }),
      connections: CONNECTIONS,
    }
    const sides = {
      ours: { port: gateway.port, pids: [gateway.pid, worker.pid], request },
      floor: {
        port: bare.port,
        pids: [bare.pid, bareWorker.pid],
        request: { ...request, path: '/', headers: {}, body: x.bytes },
      },
    }
    for (const side of Object.values(sides)) {
      await load(side.port, { ...side.request, forMs: FOR_MS.warm })
    }
    const series = new Series()
    for (let round = 0; round < ROUNDS; round++) {
      const [ours, floor] = [await measure(sides.ours), await measure(sides.floor)]
      series.add('throughput_vs_bare_echo', 'ratio', ours.perSecond / floor.perSecond)
      series.add('cpu_vs_bare_echo', 'ratio', ours.cpuUsPerCall / floor.cpuUsPerCall)
      series.add('calls_per_s', '1/s', ours.perSecond)
      series.add('cpu_us_per_call', 'µs', ours.cpuUsPerCall)
      series.add('bare_echo_per_s', '1/s', floor.perSecond)
      series.add('bare_echo_cpu_us_per_call', 'µs', floor.cpuUsPerCall)
    }
    return report('relay', SETUP, ['hono', '@hono/node-server', 'ws', 'zod'], series.figures())
  } finally {
    await stopAll(started)
  }
}

interface Side {
  port: number
  pids: readonly number[]
  request: Omit<Parameters<typeof load>[1], 'forMs'>
}

async function measure({ port, pids, request }: Side): Promise<{ perSecond: number; cpuUsPerCall: number }> {
  const before = cpuUs(pids)
  const { requests, perSecond } = await load(port, {
    ...request,
    forMs: FOR_MS.measured,
  })
  return { perSecond, cpuUsPerCall: (cpuUs(pids) - before) / requests }
}
