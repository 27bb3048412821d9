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

/** Elements of a call's tensor: the least that is a call, where what each costs shows most, and the demo's picture. */
const SIZES = { '': 64, '_picture': 3 * 64 * 64 }

const SETUP = [
  `256 B tensor (_picture: 48 KiB), ${CONNECTIONS} connections`,
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
      body: identityModel('float32', ['N', 'size']),
    })
    const worker = await start('./echo_worker.ts', [String(gateway.port)])
    const series = new Series()
    for (const [suffix, size] of Object.entries(SIZES)) {
      await compare(series, suffix, size, { gateway, worker, bare, bareWorker })
    }
    return report('relay', SETUP, ['hono', '@hono/node-server', 'ws', 'zod'], series.figures())
  } finally {
    await stopAll(started)
  }
}

type Processes = Record<'gateway' | 'worker' | 'bare' | 'bareWorker', { port: number; pid: number }>

async function compare(series: Series, suffix: string, size: number, processes: Processes): Promise<void> {
  const { gateway, worker, bare, bareWorker } = processes
  const x = Tensor.from('float32', [1, size], new Float32Array(size).fill(0.5))
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
  for (let round = 0; round < ROUNDS; round++) {
    const [ours, floor] = [await measure(sides.ours), await measure(sides.floor)]
    series.add(`throughput_vs_bare_echo${suffix}`, 'ratio', ours.perSecond / floor.perSecond)
    series.add(`cpu_vs_bare_echo${suffix}`, 'ratio', ours.cpuUsPerCall / floor.cpuUsPerCall)
    series.add(`calls_per_s${suffix}`, '1/s', ours.perSecond)
    series.add(`cpu_us_per_call${suffix}`, 'µs', ours.cpuUsPerCall)
    series.add(`bare_echo_per_s${suffix}`, '1/s', floor.perSecond)
    series.add(`bare_echo_cpu_us_per_call${suffix}`, 'µs', floor.cpuUsPerCall)
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
