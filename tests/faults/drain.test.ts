import { join } from 'node:path'
import process from 'node:process'
import { afterEach, expect, it } from 'vitest'
import { Hello } from '../../functions/hello/contract.ts'
import type { ServiceContract } from '../../shared/rpc/contract.ts'
import { createClient } from '../../shared/rpc/create_client.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { eventually } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { denoPath } from '../conformance/start_deno_gateway.ts'
import { ROOT, type Running, startCli, startProcess, temporaryFolder } from '../fixtures/process.ts'
import { extent, report } from './figures.ts'
import { Slow } from './slow_function.ts'

const CALLERS = 16
const CALLS = extent({ quick: 240, thorough: 400 })

const running: Running[] = []
let folder: Awaited<ReturnType<typeof temporaryFolder>>

afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop()))
  await folder[Symbol.asyncDispose]()
})

function keep(one: Running): Running {
  running.push(one)
  return one
}

async function startGateway(): Promise<{ gateway: Running; url: string }> {
  folder = await temporaryFolder()
  const args = ['start', '--port', '0', '--workers', '0', '--no-demo', '--data-dir', join(folder.path, 'data')]
  const gateway = keep(startCli(args))
  const [, url = ''] = await gateway.wrote(/^shoal ready (http:\S+)$/m)
  return { gateway, url }
}

async function startFunctions(url: string, commands: readonly string[][], contract: ServiceContract) {
  const env = { SHOAL_GATEWAY: url }
  const functions = commands.map(([command = '', ...args]) => keep(startProcess(command, args, { env })))
  await Promise.all(functions.map((one) => one.wrote(/(function|hello) ready/)))
  await eventually(async () => {
    const { json } = await ask(url, 'GET', `/registry/services/${contract.name}`)
    return json?.instances?.length === functions.length
  })
  return functions
}

const NODE = process.execPath
const SLOW = join(ROOT, 'tests/faults/slow_function.ts')

/** Calls without a pause from many callers at once. @param onEnd hears how many have ended */
async function load(call: (n: number) => Promise<unknown>, onEnd: (ended: number) => void) {
  const outcome = { answered: 0, failed: [] as unknown[], unsent: 0 }
  let begun = 0
  let ended = 0
  const caller = async () => {
    for (let n = begun++; n < CALLS; n = begun++) {
      try {
        await call(n)
        outcome.answered++
      } catch (thrown) {
        if (thrown instanceof RpcError && thrown.neverSent) outcome.unsent++
        else outcome.failed.push(thrown)
      }
      onEnd(++ended)
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  return outcome
}

async function stopped(one: Running): Promise<number> {
  const startedAtMs = performance.now()
  one.signal('SIGTERM')
  const { code } = await one.ended
  expect(code).toBe(0)
  return performance.now() - startedAtMs
}

it('no call fails while functions are asked to end, though none may be tried again', async () => {
  const { url } = await startGateway()
  const functions = await startFunctions(url, Array(3).fill([NODE, SLOW]), Slow)
  const client = createClient(Slow, { gateway: url })
  const pids = new Set<number>()
  const ends: Promise<number>[] = []
  const outcome = await load(
    async (n) => void pids.add((await client.work({ n }, { timeoutMs: 20_000 })).pid),
    (ended) => {
      const leaving = ended === CALLS / 8 ? functions[0] : ended === CALLS / 4 ? functions[1] : undefined
      if (leaving) ends.push(stopped(leaving))
    },
  )
  const drainMs = Math.round(Math.max(...await Promise.all(ends)))
  report('12 SIGTERM: functions on Node', 'failed 0, nothing retried', {
    calls: CALLS,
    failed: outcome.failed.length,
    instances_stopped: ends.length,
    drain_ms: drainMs,
  })
  expect(outcome).toEqual({ answered: CALLS, failed: [], unsent: 0 })
  expect([pids.size, ends.length]).toEqual([3, 2])
}, 120_000)

it('no call fails while a function on Deno is asked to end', async () => {
  const { url } = await startGateway()
  const onDeno = [await denoPath(), 'run', '-A', '--no-lock', join(ROOT, 'functions/hello/deno.ts')]
  const functions = await startFunctions(url, [onDeno, [NODE, join(ROOT, 'functions/hello/node.ts')]], Hello)
  const client = createClient(Hello, { gateway: url })
  let end: Promise<number> | undefined
  const outcome = await load(
    async (n) => {
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(await client.sayHello({ name: `n${n}` }, { timeoutMs: 20_000 })).toEqual({ message: `hello n${n}` })
    },
    (ended) => {
      if (ended === CALLS / 8 && functions[0]) end = stopped(functions[0])
    },
  )
  report('12 SIGTERM: function on Deno', 'failed 0', {
    calls: CALLS,
    failed: outcome.failed.length,
    drain_ms: Math.round(await end ?? NaN),
  })
  expect(outcome).toEqual({ answered: CALLS, failed: [], unsent: 0 })
}, 120_000)

it('a gateway that is asked to end answers all that it took on', async () => {
  const { gateway, url } = await startGateway()
  await startFunctions(url, [[NODE, SLOW]], Slow)
  const client = createClient(Slow, { gateway: url })
  let end: Promise<number> | undefined
  const outcome = await load((n) => client.work({ n }, { timeoutMs: 20_000 }), (ended) => {
    if (ended === CALLS / 4) end = stopped(gateway)
  })
  report('12 SIGTERM: gateway', 'failed 0; later calls are refused, never begun', {
    calls: CALLS,
    failed: outcome.failed.length,
    answered: outcome.answered,
    refused_unsent: outcome.unsent,
    stop_ms: Math.round(await end ?? NaN),
  })
  expect(outcome.failed).toEqual([])
  // Those that it was at work on when the signal came were answered after it.
  expect(outcome.answered).toBeGreaterThan(CALLS / 4)
  expect(outcome.answered + outcome.unsent).toBe(CALLS)
}, 120_000)
