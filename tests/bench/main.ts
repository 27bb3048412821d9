/** `npm run bench -- SUITE [--json FILE]`: every figure is a ratio to a floor or a peer measured in the same run. */
import { writeFile } from 'node:fs/promises'
import process from 'node:process'
import { scriptOptions } from '../../infra/script_options.ts'
import type { Report } from './figures.ts'

const SUITES: Readonly<Record<string, () => Promise<Report>>> = {
  codec: async () => (await import('./codec.ts')).codecBench(),
  rpc: async () => (await import('./rpc.ts')).rpcBench(),
  gateway: async () => (await import('./gateway.ts')).gatewayBench(),
  pool: async () => (await import('./pool.ts')).poolBench(),
  registry: async () => (await import('./registry.ts')).registryBench(),
  training: async () => (await import('./training.ts')).trainingBench(),
  relay: async () => (await import('./relay.ts')).relayBench(),
}

const { values, positionals: [suite = ''] } = scriptOptions(
  `npm run bench -- ${Object.keys(SUITES).join('|')} [--json FILE]`,
  { json: { type: 'string' } },
  1,
)
const run = SUITES[suite]
if (!run) {
  console.error(
    `Cannot run the benchmark: the suite must be one of ${Object.keys(SUITES).join(', ')}, got "${suite}"`,
  )
  process.exit(1)
}

const result = await run()
console.log(`${result.suite} on ${result.machine}\n${result.setup}\n`)
for (
  const [name, { median, min, max, unit, runs }] of Object.entries(
    result.figures,
  )
) {
  const show = (value: number) => value >= 100 ? value.toFixed(0) : value.toPrecision(3)
  console.log(
    `${name.padEnd(40)} ${show(median).padStart(8)} ${unit.padEnd(6)} (${show(min)} to ${show(max)}, ${runs} runs)`,
  )
}
for (const reason of result.missing) console.log(`not measured: ${reason}`)
if (values.json) {
  await writeFile(values.json, `${JSON.stringify(result, undefined, 2)}\n`)
}
process.exit(0)
