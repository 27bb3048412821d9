import { createClient } from 'redis'
import { startRedisServer } from '../../infra/local_redis.ts'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { createRouter } from '../../shared/routing/call.ts'
import type { RpcRequest, RpcResponse } from '../../shared/rpc/send.ts'
import { newTrace } from '../../shared/rpc/trace.ts'
import type { Instance, LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { encode } from '../../shared/wire/codec.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { identityModel } from '../fixtures/models.ts'
import { type Child, startChild, stopAll } from './child.ts'
import { type Report, report, Series } from './figures.ts'
import { type Backend, leave, register } from './gateway_backend.ts'
import { SteadyCaller } from './steady_caller.ts'

const CALLERS = 8
const WORKERS = 1_000
const WINDOWS = { count: 3, forMs: 6_000 }
const ROUNDS = 7
const CRASHES = 5
const LISTED = 10_000
/** What is listed is registered in batches that the store takes. */
const BATCH = 1_000
/** An instance that has not answered for so long gets no more calls. */
const QUIET_MS = 2 * DEFAULTS.registryRefreshMs
const AFTER_CRASH_MS = 2_000
/** Far beyond what is hoped for: a round that takes this long has failed. */
const PATIENCE_MS = 10_000

const SETUP = [
  `two gateways on one Redis; instances register at one of them, calls go through the other, ${CALLERS} at once`,
  `commands: by INFO commandstats over ${WINDOWS.forMs} ms with ${WORKERS} workers on one relay and a call every 20 ms`,
  'commands: those sent to Redis, as hosts of Redis bill them; in_scripts: those that its Lua scripts run besides',
  'join: from registering to the first answer; leave: from leaving to the last one; crash: SIGKILL of one of three',
  `list: ${LISTED} instances of one service over TCP; route: one call by a router that knows them`,
].join('; ')

/** How fast the registry tells of those who come and go, and what it costs. */
export async function registryBench(): Promise<Report> {
  const started: { stop(): Promise<void> }[] = []
  const track = <T extends { stop(): Promise<void> }>(one: T): T => {
    started.push(one)
    return one
  }
  const redis = await startRedisServer()
  try {
    const series = new Series()
    const near = track(await startChild('./gateway_server.ts', [redis.url]))
    const far = track(await startChild('./gateway_server.ts', [redis.url]))
    await comeAndGo(series, near, far, track)
    await crash(series, near, far, track)
    await list(series, redis.url)
    // Last: a thousand workers slow all else down.
    track(await startChild('./echo_worker.ts', [String(near.port), String(WORKERS)]))
    await countCommands(series, near, redis.url)
    return report('registry', SETUP, ['redis'], series.figures())
  } finally {
    await stopAll(started)
    await redis.close()
  }
}

type Track = <T extends { stop(): Promise<void> }>(one: T) => T

async function startBackend(name: string, track: Track): Promise<Child & Required<Backend>> {
  return { ...track(await startChild('./named_backend.ts', [name])), name, life: 0 }
}

async function comeAndGo(series: Series, near: Child, far: Child, track: Track): Promise<void> {
  const stays = await startBackend('stays', track)
  const comes = await startBackend('comes', track)
  await register(near.port, stays)
  using caller = new SteadyCaller(far.port, { callers: CALLERS, pauseMs: 5 })
  await caller.until('stays', PATIENCE_MS)
  for (comes.life = 1; comes.life <= ROUNDS; comes.life++) {
    // At any moment between two refreshes of the far gateway's table.
    await sleep(systemClock, Math.random() * DEFAULTS.registryRefreshMs)
    const registeredAtMs = performance.now()
    await register(near.port, comes)
    series.add('join_to_routed_ms', 'ms', await caller.until('comes', PATIENCE_MS) - registeredAtMs)
    await sleep(systemClock, Math.random() * DEFAULTS.registryRefreshMs)
    const leftAtMs = performance.now()
    await leave(near.port, comes)
    const lastAtMs = await caller.untilSilent('comes', QUIET_MS, PATIENCE_MS)
    series.add('leave_to_routed_ms', 'ms', Math.max(0, lastAtMs - leftAtMs))
  }
  await leave(near.port, stays)
}

async function crash(series: Series, near: Child, far: Child, track: Track): Promise<void> {
  const [first, second] = [await startBackend('first', track), await startBackend('second', track)]
  await register(near.port, first)
  await register(near.port, second)
  for (let round = 0; round < CRASHES; round++) {
    const third = await startBackend(`third-${round}`, track)
    await register(near.port, third)
    using caller = new SteadyCaller(far.port, { callers: CALLERS, pauseMs: 0 })
    await caller.until(third.name, PATIENCE_MS)
    // Before the table knew of anybody, calls had nowhere to go.
    caller.forget()
    third.kill()
    await sleep(systemClock, AFTER_CRASH_MS)
    series.add('failed_calls_on_crash', 'calls', caller.failures)
    series.add('calls_around_crash', 'calls', caller.answers)
    for (const [reason, count] of caller.reasons) console.log(`${count} calls failed in round ${round}: ${reason}`)
    // Else the next round would begin with an instance that is dead already.
    await leave(near.port, third)
    await sleep(systemClock, QUIET_MS)
  }
  for (const backend of [first, second]) await leave(near.port, backend)
}

async function list(series: Series, url: string): Promise<void> {
  const redis = tcpRedis(url)
  const leases = redisLeases(redis)
  try {
    await fill(leases)
    for (let round = 0; round < ROUNDS; round++) {
      const startedAtMs = performance.now()
      const listing = await leases.list(BIG)
      const listedAtMs = performance.now()
      if ('unchanged' in listing || listing.instances.length !== LISTED) throw new Error('Cannot list: instances lack')
      await leases.list(BIG, listing.revision)
      series.add('list_us_10000_instances', 'µs', (listedAtMs - startedAtMs) * 1000)
      series.add('list_unchanged_us_10000_instances', 'µs', (performance.now() - listedAtMs) * 1000)
      series.add('route_us_10000_instances', 'µs', await routeUs(listing.instances))
    }
  } finally {
    await redis.quit()
  }
}

const BIG = 'bench.Big'

async function fill(leases: LeaseStore): Promise<void> {
  for (let start = 0; start < LISTED; start += BATCH) {
    const batch: Instance[] = Array.from({ length: BATCH }, (_, i) => ({
      id: `instance-${start + i}`,
      service: BIG,
      version: '1.0.0',
      group: 'default',
      address: { kind: 'url', url: `http://10.0.${(start + i) >> 8}.${i & 255}:8080` },
      incarnation: 'first',
      ttlMs: 600_000,
      weight: 1,
      zone: '',
    }))
    await leases.renew(batch)
  }
}

/** Microseconds that a router takes to call one of many instances, which answers at once. */
async function routeUs(instances: readonly LeasedInstance[]): Promise<number> {
  const answer: RpcResponse = { kind: 'unary', metadata: {}, payload: { codec: 'value', value: null } }
  const route = createRouter({
    instances: () => Promise.resolve(instances),
    connect: () => () => Promise.resolve(answer),
    onUnreachable() {},
    clock: systemClock,
    random: Math.random,
    metrics: new Metrics(),
  })
  const request: RpcRequest = {
    service: BIG,
    method: 'call',
    version: '^1.0.0',
    group: 'default',
    stream: false,
    idempotent: true,
    timeoutMs: 1_000,
    signal: new AbortController().signal,
    traceparent: newTrace(),
    metadata: {},
    payload: { codec: 'value', value: null },
  }
  const calls = 2_000
  for (let i = 0; i < calls; i++) await route(request)
  const startedAtMs = performance.now()
  for (let i = 0; i < calls; i++) await route(request)
  return (performance.now() - startedAtMs) * 1000 / calls
}

/** With calls under way, since a table that nobody reads is not refreshed. */
async function countCommands(series: Series, gateway: Child, url: string): Promise<void> {
  const client = createClient({ url })
  await client.connect()
  try {
    const model = { method: 'PUT', body: identityModel('float32', ['N', 64]) }
    await fetch(`http://127.0.0.1:${gateway.port}/models/echo/versions/1`, model)
    const x = Tensor.from('float32', [1, 64], new Float32Array(64))
    using caller = new SteadyCaller(gateway.port, {
      callers: 1,
      pauseMs: 20,
      path: '/rpc/shoal.Inference/infer',
      type: 'application/msgpack',
      body: encode({ model: 'echo', inputs: { x } }),
    })
    for (let i = 0; i < WINDOWS.count; i++) {
      const before = await commandsOf(client)
      const answersBefore = caller.answers
      await sleep(systemClock, WINDOWS.forMs)
      const after = await commandsOf(client)
      const seconds = WINDOWS.forMs / 1000
      series.add('redis_commands_per_s_1000_workers', '1/s', (after.sent - before.sent) / seconds)
      series.add('redis_commands_in_scripts_per_s_1000_workers', '1/s', (after.inScripts - before.inScripts) / seconds)
      if (caller.answers === answersBefore || caller.failures > 0) throw new Error('Cannot measure: calls must succeed')
    }
  } finally {
    client.destroy()
  }
}

/** Those that Shoal sends. All else that Redis counts is run by its scripts. */
const SENT = new Set(['evalsha', 'eval', 'getdel', 'ping'])
/** This benchmark's own. */
const OURS = new Set(['info', 'hello', 'client|setinfo'])

async function commandsOf(client: { sendCommand(args: string[]): Promise<unknown> }) {
  const text = String(await client.sendCommand(['INFO', 'commandstats']))
  const counts = { sent: 0, inScripts: 0 }
  for (const [, name = '', calls] of text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) {
    if (!OURS.has(name)) counts[SENT.has(name) ? 'sent' : 'inScripts'] += Number(calls)
  }
  return counts
}
