import process from 'node:process'

/**
 * How much of a measurement `npm test` makes, which asks whether what must hold does, and `npm run faults`, which prints
 * figures.
 */
export function extent({ quick, thorough }: { quick: number; thorough: number }): number {
  return process.env.SHOAL_FAULTS === 'thorough' ? thorough : quick
}

/** What a fault test has found, as one line of JSON: `npm run faults` gathers them. */
export interface Finding {
  /** Number and words of the fault. */
  fault: string
  expectation: string
  figure: Readonly<Record<string, string | number | boolean>>
}

export function report(fault: string, expectation: string, figure: Finding['figure']): void {
  console.log(JSON.stringify({ fault, expectation, figure } satisfies Finding))
}

/** Findings among the lines of a test run. */
export function readFindings(output: string): Finding[] {
  return output.split('\n').filter((line) => line.startsWith('{"fault":')).map((line) => JSON.parse(line) as Finding)
}
