import { suites } from '../suites.ts'

for (const suite of suites) {
  for (const [name, run] of Object.entries(suite.cases)) Deno.test(`${suite.name}: ${name}`, async () => await run())
}
