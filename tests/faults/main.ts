/** `npm run faults [-- PATTERN]`: runs the fault tests against real processes and prints what each has found. */
import '../../infra/require_node.ts'
import { stripVTControlCharacters } from 'node:util'
import process from 'node:process'
import { run } from '../../infra/tools.ts'
import { type Finding, readFindings } from './figures.ts'

const patterns = process.argv.slice(2).map((pattern) => `tests/faults/${pattern}`)
const { code, output } = await run(
  'vitest',
  // One at a time: their figures are of the faults, not of each other.
  ['run', '--no-file-parallelism', ...(patterns.length > 0 ? patterns : ['tests/faults/'])],
  'capture',
  { SHOAL_FAULTS: 'thorough' },
)
const text = stripVTControlCharacters(output)
const findings = readFindings(text).sort((a, b) => (parseInt(a.fault) || 99) - (parseInt(b.fault) || 99))
for (const { fault, expectation, figure } of findings) {
  console.log(`${fault.padEnd(32)} ${expectation}\n${show(figure)}\n`)
}
if (code !== 0) console.log(text.trimEnd())
console.log(`${findings.length} faults, ${code === 0 ? 'all as expected' : 'NOT all as expected'}`)
process.exitCode = code

function show(figure: Finding['figure']): string {
  return Object.entries(figure).map(([name, value]) => `    ${name}: ${value}`).join('\n')
}
