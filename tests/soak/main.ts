/**
 * `npm run soak -- --minutes 10 [--calls 40] [--churn 6] [--json FILE]`: a gateway with its relay, a worker and a host
 * with an address of its own under steady load, while other workers join, leave and are killed. Exits with 1 if memory
 * grows beyond doubt, if handles are left over, or if a call fails. Two minutes find what leaks fast.
 */
import '../../infra/require_node.ts'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { scriptOptions } from '../../infra/script_options.ts'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { ProcessReport } from '../../functions/operations/process_report.ts'
import { startCli, temporaryFolder } from '../fixtures/process.ts'
import { Churn } from './churn.ts'
import { SteadyLoad } from './steady_load.ts'
import { rises, type Trend, trendOf } from './trend.ts'
import { QUANTITIES, type Quantity, Watched } from './watched.ts'

const SAMPLE_MS = 5_000
/** Part of the time in which code is compiled and caches fill: not counted. */
const WARM_UP = 0.3
/** After the load, what was kept open for the next call closes: connections when they have been quiet for so long. */
const QUIET_MS = DEFAULTS.keepAliveMs + 10_000
/** Files more than before the load that are no leak: a kept connection or two, a file of the store. */
const FILES_SLACK = 6

const { values } = scriptOptions('npm run soak -- [--minutes 10] [--calls 40] [--churn 6] [--json FILE]', {
  minutes: { type: 'string', default: '10' },
  calls: { type: 'string', default: '40' },
  churn: { type: 'string', default: '6' },
  json: { type: 'string' },
})
const [minutes, callsPerSecond, churnSeconds] = [values.minutes, values.calls, values.churn].map(Number)
if (!minutes || !callsPerSecond || !churnSeconds || minutes < 0.5) {
  console.error('Cannot soak: --minutes must be 0.5 or more, --calls and --churn above 0')
  process.exit(1)
}

await using folder = await temporaryFolder()
const env = { HOME: folder.path }
// A port of its own for each inspector, whatever else is looked into on this machine.
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --inspect-port=0`
const gateway = startCli([
  'start',
  '--port',
  '0',
  '--workers',
  '0',
  '--no-demo',
  '--data-dir',
  join(folder.path, 'data'),
])
const [, url = ''] = await gateway.wrote(/^shoal ready (http:\S+)$/m)
const lend = (name: string, ...more: string[]) =>
  startCli(['worker', '--device', 'wasm', '--name', name, '--gateway', url, ...more], { env })
const [worker, host] = [lend('steady'), lend('host', '--http')]
await Promise.all([worker.wrote(/: serving /), host.wrote(/: registered /)])

const watched = await Promise.all([
  Watched.open('gateway and relay', gateway.pid),
  Watched.open('worker', worker.pid),
  Watched.open('host', host.pid),
])
const sampleAll = () => Promise.all(watched.map((one) => one.sample()))
const before = await sampleAll()
const load = await SteadyLoad.start(url, callsPerSecond)
const churn = new Churn(url, folder.path)
const startedAtMs = performance.now()
const endsAtMs = startedAtMs + minutes * 60_000
const churning = (async () => {
  while (performance.now() < endsAtMs) {
    await Promise.all([churn.step(), sleep(systemClock, churnSeconds * 1000)])
  }
})()
while (performance.now() < endsAtMs) await Promise.all([sampleAll(), sleep(systemClock, SAMPLE_MS)])
await churning
await churn.stop()
await load.stop()
await sleep(systemClock, QUIET_MS)
const after = await sampleAll()

const leaks: string[] = []
const fromMs = startedAtMs + WARM_UP * minutes * 60_000
const processes = watched.map((one, i) => {
  const trends = Object.fromEntries(
    (Object.keys(QUANTITIES) as Quantity[]).map((name): [Quantity, Trend] => {
      const trend = trendOf(one.series(name, fromMs).filter(({ atMs }) => atMs <= endsAtMs))
      const { perHour, atLeast } = QUANTITIES[name]
      const grownBy = trend.slopePerHour * (1 - WARM_UP) * minutes / 60
      if (rises(trend, perHour) && grownBy > atLeast) leaks.push(`${one.name}: ${name} rises`)
      return [name, trend]
    }),
  )
  const [first, last] = [before[i], after[i]] as [ProcessReport, ProcessReport]
  const files = [first.openFiles ?? 0, last.openFiles ?? 0] as const
  if (files[1] > files[0] + FILES_SLACK) leaks.push(`${one.name}: ${files[1] - files[0]} more open files`)
  for (const [kind, count] of Object.entries(last.handles)) {
    if (count > (first.handles[kind] ?? 0) + FILES_SLACK) leaks.push(`${one.name}: ${count} ${kind}`)
  }
  return { name: one.name, trends, files, handlesBefore: first.handles, handlesAfter: last.handles }
})
await Promise.all(watched.map((one) => one.close()))
await Promise.all([worker, host].map((one) => one.stop()))
await gateway.stop()

const failed = [...load.failures.values()].reduce((sum, count) => sum + count, 0)
const result = {
  minutes,
  answered: load.answered,
  shed: load.shed,
  failed,
  wrong: load.wrong,
  failures: Object.fromEntries(load.failures),
  churn: { joined: churn.joined, left: churn.left, killed: churn.killed },
  processes,
  leaks,
}
console.log(`${minutes} min, ${load.answered} calls answered, ${load.shed} shed, ${failed} failed, ${load.wrong} wrong`)
console.log(`${churn.joined} workers joined, ${churn.left} left, ${churn.killed} were killed`)
for (const [reason, count] of load.failures) console.log(`  ${count} × ${reason}`)
for (const { name, trends, files, handlesBefore, handlesAfter } of processes) {
  console.log(name)
  for (const [quantity, { first, last, slopePerHour, marginPerHour, samples }] of Object.entries(trends)) {
    const [from, to, slope, margin] = [first, last, slopePerHour, marginPerHour].map((value) => value.toFixed(1))
    console.log(`  ${quantity.padEnd(12)} ${from} → ${to}, ${slope} ± ${margin} an hour (95 %, ${samples} samples)`)
  }
  console.log(`  open files   ${files[0]} → ${files[1]}`)
  console.log(`  handles      ${JSON.stringify(handlesBefore)} → ${JSON.stringify(handlesAfter)}`)
}
console.log(leaks.length === 0 ? 'nothing leaks' : `LEAKS: ${leaks.join('; ')}`)
if (values.json) await writeFile(values.json, `${JSON.stringify(result, undefined, 2)}\n`)
process.exitCode = leaks.length > 0 || failed > 0 || load.wrong > 0 ? 1 : 0
