import { join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createClient } from '../../shared/rpc/create_client.ts'
import { eventually, refusal } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { ROOT, type Running, startCli, startProcess, temporaryFolder } from '../fixtures/process.ts'
import { report } from './figures.ts'
import { hop, LAST_HOP } from './hop_function.ts'

const TIMEOUT_MS = 50
/** Calls that must get to the last hop before their time is over; of those made, some do not on a busy machine. */
const WANTED = 20

const running: Running[] = []
let folder: Awaited<ReturnType<typeof temporaryFolder>>
let url: string

beforeAll(async () => {
  folder = await temporaryFolder()
  const args = ['start', '--port', '0', '--workers', '0', '--no-demo', '--data-dir', join(folder.path, 'data')]
  const gateway = startCli(args)
  running.push(gateway)
  ;[, url = ''] = await gateway.wrote(/^shoal ready (http:\S+)$/m)
  const program = join(ROOT, 'tests/faults/hop_function.ts')
  await Promise.all([1, 2, LAST_HOP].map(async (n) => {
    const one = startProcess(process.execPath, [program, String(n)], { env: { SHOAL_GATEWAY: url } })
    running.push(one)
    await one.wrote(/function ready/)
    await eventually(async () => (await ask(url, 'GET', `/registry/services/demo.Hop${n}`)).status === 200)
    // The gateway has the table at hand from here on: 50 ms are for the call.
    await eventually(async () => await seen(n).then(() => true, () => false))
  }))
})

afterAll(async () => {
  await Promise.all(running.map((one) => one.stop()))
  await folder[Symbol.asyncDispose]()
})

const seen = (n: number) => createClient(hop(n), { gateway: url }).seen({}, { timeoutMs: 10_000 })

it('a deadline of 50 ms stops the work in all of three hops', async () => {
  const client = createClient(hop(1), { gateway: url })
  let calls = 0
  let slowestMs = 0
  const codes = new Set<string>()
  while ((await seen(LAST_HOP)).begun < WANTED && calls < 100 * WANTED) {
    const startedAtMs = performance.now()
    const { code } = await refusal(client.work({}, { timeoutMs: TIMEOUT_MS }))
    slowestMs = Math.max(slowestMs, performance.now() - startedAtMs)
    codes.add(code)
    calls++
  }
  await eventually(async () => {
    const all = await Promise.all([1, 2, LAST_HOP].map(seen))
    return all.every(({ begun, cancelled, other, running }) => running === 0 && cancelled + other === begun)
  })
  const all = await Promise.all([1, 2, LAST_HOP].map(seen))
  report('26 deadline of 50 ms, 3 hops', 'cancelled everywhere', {
    calls,
    caller_slowest_ms: Math.round(slowestMs),
    begun_at_hops: all.map(({ begun }) => begun).join(' / '),
    cancelled_at_hops: all.map(({ cancelled }) => cancelled).join(' / '),
    latest_after_deadline_ms: Math.round(Math.max(...all.map(({ lateMs }) => lateMs))),
    running_after: all.reduce((total, { running }) => total + running, 0),
  })
  expect([...codes]).toEqual(['deadline_exceeded'])
  expect(all[LAST_HOP - 1]?.begun).toBeGreaterThanOrEqual(WANTED)
  for (const { begun, cancelled, running, other } of all) {
    expect({ cancelled, running, other }).toEqual({ cancelled: begun, running: 0, other: 0 })
  }
}, 120_000)
