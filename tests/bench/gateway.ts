import { type Child, startChild, stopAll } from './child.ts'
import { cpuUs, family } from './cpu.ts'
import { type Report, report, Series } from './figures.ts'
import { register, RPC_REQUEST } from './gateway_backend.ts'
import { startNginx } from './gateway_peers/nginx.ts'
import { load } from './load.ts'
import { installPeers, startNats } from './programs.ts'

const ROUNDS = 11
const CONNECTIONS = 32
const FOR_MS = { warm: 1_500, measured: 1_000 }

const SETUP = [
  `POST with ${RPC_REQUEST.body.byteLength} B of JSON, echoed; ${CONNECTIONS} keep-alive connections, TLS off`,
  'direct: the backend alone, node:http; each gateway in a process of its own before the same backend',
  'Shoal: as `shoal start` runs it, with all its policies, the backend registered as a service; no key, as its peers',
  'bare_proxy: node:http and undici with nothing between, what gateways in JavaScript on Node are made of',
  'moleculer-web: to a Moleculer service over NATS, decoding bodies',
  'function: a Shoal function on Node, zod in and out, behind Shoal over its socket; function_direct: the same, over HTTP',
  'vs: our rate ÷ theirs in the same round; cpu: user + system of the gateway alone (nginx with its worker)',
].join('; ')

const PACKAGES = ['hono', '@hono/node-server', 'undici', '@platformatic/gateway', 'fast-gateway', 'moleculer-web']

const FUNCTION_PATH = '/rpc/bench.Function/echo'

interface Target {
  port: number
  /** Where the call goes; the plain backend's by default. */
  path?: string
  pids: readonly number[]
}

/** A call through the gateway with all its policies, beside the backend called directly and other gateways before it. */
export async function gatewayBench(): Promise<Report> {
  const started: { stop(): Promise<void> }[] = []
  const missing: string[] = []
  try {
    const targets = await startTargets(started, missing)
    const options = { ...RPC_REQUEST, connections: CONNECTIONS }
    for (const { port, path = options.path } of targets.values()) {
      await load(port, { ...options, path, forMs: FOR_MS.warm })
    }
    const series = new Series()
    for (let round = 0; round < ROUNDS; round++) {
      const rates = new Map<string, number>()
      const costs = new Map<string, number>()
      const names = [...targets.keys()]
      for (const [i] of names.entries()) {
        const name = names[(i + round) % names.length] ?? ''
        const { port, pids, path = options.path } = targets.get(name) ?? { port: 0, pids: [] }
        const before = cpuUs(pids)
        const { requests, perSecond } = await load(port, {
          ...options,
          path,
          forMs: FOR_MS.measured,
        })
        rates.set(name, perSecond)
        const prefix = name === 'shoal' ? '' : `${name}_`
        series.add(`${prefix}requests_per_s`, '1/s', perSecond)
        const cost = (cpuUs(pids) - before) / requests
        costs.set(name, cost)
        series.add(`${prefix}cpu_us_per_request`, 'µs', cost)
      }
      const [ours = NaN, bare = NaN, direct = NaN] = ['shoal', 'bare_proxy', 'direct'].map((name) => rates.get(name))
      for (const [name, theirs] of rates) {
        if (name !== 'shoal' && !name.startsWith('function')) {
          series.add(figureOf(name), 'ratio', ours / theirs)
        }
      }
      series.add('bare_proxy_vs_direct', 'ratio', bare / direct)
      // What our policies cost, also on a machine that others load: their share of its time is not in it.
      series.add('cpu_vs_bare_proxy', 'ratio', (costs.get('shoal') ?? NaN) / (costs.get('bare_proxy') ?? NaN))
      const ofFunction = (rates.get('function') ?? NaN) / (rates.get('function_direct') ?? NaN)
      series.add('function_throughput_vs_direct', 'ratio', ofFunction)
    }
    return report('gateway', SETUP, PACKAGES, series.figures(), missing)
  } finally {
    await stopAll(started)
  }
}

function figureOf(name: string): string {
  return name === 'direct' ? 'throughput_vs_direct' : `vs_${name}`
}

async function startTargets(
  started: { stop(): Promise<void> }[],
  missing: string[],
): Promise<ReadonlyMap<string, Target>> {
  const track = <T extends { stop(): Promise<void> }>(one: T): T => {
    started.push(one)
    return one
  }
  const backend = track(await startChild('./echo_backend.ts'))
  const gateway = track(await startChild('./gateway_server.ts'))
  await register(gateway.port, { name: 'echo', port: backend.port })
  const bare = track(await startChild('./gateway_peers/bare_proxy.ts', [String(backend.port)]))
  const served = track(await startChild('./function_backend.ts', [String(gateway.port)]))
  const targets = new Map<string, Target>([
    ['direct', { port: backend.port, pids: [backend.pid] }],
    ['shoal', { port: gateway.port, pids: [gateway.pid] }],
    ['bare_proxy', { port: bare.port, pids: [bare.pid] }],
    ['function', { port: gateway.port, path: FUNCTION_PATH, pids: [gateway.pid] }],
    ['function_direct', { port: served.port, path: FUNCTION_PATH, pids: [served.pid] }],
  ])
  const reason = await installPeers()
  const onNode = async (start: () => Promise<Child>) => {
    if (reason) throw new Error(reason)
    const { port, pid } = track(await start())
    return { port, pids: [pid] }
  }
  const peers: Record<string, () => Promise<Target>> = {
    async nginx() {
      const nginx = track(await startNginx(backend.port))
      return { port: nginx.port, pids: family(nginx.pid) }
    },
    platformatic_gateway: () =>
      onNode(() =>
        startChild('./gateway_peers/platformatic.ts', [String(backend.port)], {
          quiet: true,
        })
      ),
    fast_gateway: () => onNode(() => startChild('./gateway_peers/fast_gateway.ts', [String(backend.port)])),
    moleculer_web: () =>
      onNode(async () => {
        const env = { BENCH_NATS_URL: track(await startNats()).url }
        track(await startChild('./gateway_peers/moleculer_service.ts', [], { env }))
        return await startChild('./gateway_peers/moleculer_web.ts', [], {
          env,
        })
      }),
  }
  for (const [name, start] of Object.entries(peers)) {
    try {
      targets.set(name, await start())
    } catch (thrown) {
      missing.push(`${name}: ${thrown instanceof Error ? thrown.message : thrown}`)
    }
  }
  return targets
}
