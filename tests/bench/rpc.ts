import { type Child, startChild, stopAll } from './child.ts'
import { cpuUs } from './cpu.ts'
import { type Measured, type Report, report, Series } from './figures.ts'
import { installPeers, startNats } from './programs.ts'
import { CALLERS, MESSAGE } from './rpc_contract.ts'

const ROUNDS = 7
const FOR_MS = { warm: 1_000, single: 300, many: 900 }

/** Each peer, and the ways of using it that are measured: the fastest of them counts. */
const PEERS: Readonly<Record<string, readonly string[]>> = {
  grpc_js: ['grpc_js'],
  trpc: ['trpc_http', 'trpc_batch', 'trpc_socket'],
  connect: ['connect_http1', 'connect_http2'],
  capnweb: ['capnweb'],
  moleculer: ['moleculer'],
}

const SETUP = [
  `${JSON.stringify(MESSAGE).length} B record as JSON, echoed`,
  `one caller for p50, ${CALLERS} for throughput and processor time`,
  'server and caller in processes of their own, TLS off, keep-alive, one connection where the protocol multiplexes',
  'vs: ours ÷ theirs in the same round, their fastest way',
  'validated: Shoal zod in and out on both sides; tRPC zod in and out on the server; gRPC, Connect protobuf types',
  "Moleculer its validator, input only, over NATS; Cap'n Web and node:http nothing",
  'cpu: user + system of server and caller (and of NATS)',
].join('; ')

const PACKAGES = [
  ...['ws', 'zod', '@msgpack/msgpack', '@grpc/grpc-js', '@grpc/proto-loader', '@trpc/server'],
  ...['@connectrpc/connect-node', 'capnweb', 'moleculer', 'nats'],
]

interface Candidate {
  server: Child
  caller: Child
  /** Server first; what it needs besides comes last. */
  pids: number[]
}

interface Round {
  single: Measured
  many: Measured
  cpuUsPerCall: number
  serverCpuUsPerCall: number
}

/** A typed, validated call over one multiplexed socket, beside a bare node:http echo and other RPC libraries. */
export async function rpcBench(): Promise<Report> {
  const started: { stop(): Promise<void> }[] = []
  const missing: string[] = []
  try {
    const candidates = await startAll(started, missing)
    const series = new Series()
    for (const { caller } of candidates.values()) {
      await caller.ask({ callers: CALLERS, forMs: FOR_MS.warm })
    }
    for (let round = 0; round < ROUNDS; round++) {
      const rounds = new Map<string, Round>()
      // Another goes first in each round, so that what disturbs a part of it disturbs all alike.
      const names = [...candidates.keys()]
      for (const [i] of names.entries()) {
        const name = names[(i + round * 3) % names.length] ?? ''
        const candidate = candidates.get(name)
        if (candidate) rounds.set(name, await measure(candidate))
      }
      addRound(series, rounds)
    }
    return report('rpc', SETUP, PACKAGES, series.figures(), missing)
  } finally {
    await stopAll(started)
  }
}

async function startAll(started: { stop(): Promise<void> }[], missing: string[]): Promise<Map<string, Candidate>> {
  const candidates = new Map<string, Candidate>()
  const start = async (name: string, env: Record<string, string> = {}, pids: readonly number[] = []) => {
    const server = await startChild('./rpc_server.ts', [name], { env })
    started.push(server)
    const caller = await startChild('./rpc_caller.ts', [name, String(server.port)], { env })
    started.push(caller)
    candidates.set(name, {
      server,
      caller,
      pids: [server.pid, caller.pid, ...pids],
    })
  }
  await start('shoal')
  await start('node_http')
  const reason = await installPeers()
  for (const [peer, ways] of Object.entries(PEERS)) {
    try {
      if (reason) throw new Error(reason)
      if (peer === 'moleculer') {
        const nats = await startNats()
        started.push(nats)
        await start(peer, { BENCH_NATS_URL: nats.url }, [nats.pid])
      } else for (const way of ways) await start(way)
    } catch (thrown) {
      missing.push(`${peer}: ${thrown instanceof Error ? thrown.message : thrown}`)
    }
  }
  return candidates
}

async function measure({ server, caller, pids }: Candidate): Promise<Round> {
  const single = await caller.ask<Measured>({
    callers: 1,
    forMs: FOR_MS.single,
  })
  const before = { all: cpuUs(pids), server: cpuUs([server.pid]) }
  const many = await caller.ask<Measured>({
    callers: CALLERS,
    forMs: FOR_MS.many,
  })
  return {
    single,
    many,
    cpuUsPerCall: (cpuUs(pids) - before.all) / many.calls,
    serverCpuUsPerCall: (cpuUs([server.pid]) - before.server) / many.calls,
  }
}

function addRound(series: Series, rounds: ReadonlyMap<string, Round>): void {
  const [ours, floor] = [rounds.get('shoal'), rounds.get('node_http')]
  if (!ours || !floor) return
  series.add('p50_vs_node_http', 'ratio', ours.single.p50Us / floor.single.p50Us)
  series.add('throughput_vs_node_http', 'ratio', ours.many.perSecond / floor.many.perSecond)
  series.add('cpu_vs_node_http', 'ratio', ours.cpuUsPerCall / floor.cpuUsPerCall)
  for (const [peer, ways] of Object.entries(PEERS)) {
    const theirs = ways.flatMap((way) => rounds.get(way) ?? [])
    if (theirs.length === 0) continue
    series.add(`throughput_vs_${peer}`, 'ratio', ours.many.perSecond / Math.max(...theirs.map((r) => r.many.perSecond)))
    series.add(`p50_vs_${peer}`, 'ratio', ours.single.p50Us / Math.min(...theirs.map((r) => r.single.p50Us)))
    series.add(`cpu_vs_${peer}`, 'ratio', ours.cpuUsPerCall / Math.min(...theirs.map((r) => r.cpuUsPerCall)))
  }
  for (const [name, { single, many, cpuUsPerCall, serverCpuUsPerCall }] of rounds) {
    const prefix = name === 'shoal' ? '' : `${name}_`
    series.add(`${prefix}p50_us`, 'µs', single.p50Us)
    series.add(`${prefix}calls_per_s`, '1/s', many.perSecond)
    series.add(`${prefix}cpu_us_per_call`, 'µs', cpuUsPerCall)
    series.add(`${prefix}server_cpu_us_per_call`, 'µs', serverCpuUsPerCall)
  }
}
