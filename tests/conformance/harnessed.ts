import type { Suite } from '../suite.ts'

interface Closed {
  close(): Promise<void>
}

/** Gives a case a harness of its own, closed when it is over. */
export function usingOf<Harness extends Closed>(open: () => Promise<Harness>) {
  return (run: (harness: Harness) => Promise<void>) => async (): Promise<void> => {
    const harness = await open()
    try {
      await run(harness)
    } finally {
      await harness.close()
    }
  }
}

/** Cases of which each has a harness of its own. */
export function harnessed<Harness extends Closed>(
  open: () => Promise<Harness>,
  cases: Readonly<Record<string, (harness: Harness) => Promise<void>>>,
): Suite['cases'] {
  const using = usingOf(open)
  return Object.fromEntries(Object.entries(cases).map(([title, run]) => [title, using(run)]))
}
