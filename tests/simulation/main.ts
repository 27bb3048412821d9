/**
 * `npm run simulate -- [--seeds N] [--seed S] [--history]`: runs registry and routing through trouble under N seeds from S
 * on, and prints what broke with the command that replays it; with --history, all that happened.
 */
import '../../infra/require_node.ts'
import process from 'node:process'
import { scriptOptions } from '../../infra/script_options.ts'
import { replayCommand, simulate } from './simulate.ts'

const { values } = scriptOptions('npm run simulate -- [--seeds 10000] [--seed 1] [--history]', {
  seeds: { type: 'string', default: '10000' },
  seed: { type: 'string', default: '1' },
  history: { type: 'boolean', default: false },
})
const [first, seeds] = [Number(values.seed), Number(values.seeds)]
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(seeds) || seeds < 1) {
  console.error(`Cannot simulate: --seed and --seeds must be whole numbers, got "${values.seed}" and "${values.seeds}"`)
  process.exit(1)
}
let [broken, calls, attempts] = [0, 0, 0]
for (let seed = first; seed < first + seeds; seed++) {
  const run = await simulate(seed)
  calls += run.calls
  attempts += run.attempts
  if (values.history) console.log(run.history.join('\n'))
  if (values.history || seeds === 1) console.log(`seed ${seed}: history ${run.hash}`)
  if (run.violations.length === 0) continue
  broken++
  console.log(`seed ${seed} broke: ${run.violations.join(', ')}\n    ${replayCommand(seed)}\n    history ${run.hash}`)
}
console.log(
  `${seeds} seeds, ${calls} calls, ${attempts} attempts: ${broken === 0 ? 'every rule held' : `${broken} BROKEN`}`,
)
process.exitCode = broken > 0 ? 1 : 0
