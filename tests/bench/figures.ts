import { cpus } from 'node:os'
import process from 'node:process'
import { existsSync, readFileSync } from 'node:fs'

/** One figure over several runs: quote the median, look at the spread. */
export interface Figure {
  median: number
  min: number
  max: number
  unit: string
  runs: number
}

export interface Report {
  suite: string
  machine: string
  versions: Record<string, string>
  /** What was compared and how, for whoever reads the figures later. */
  setup: string
  /** Peers that could not be measured here, each with its reason. */
  missing: string[]
  figures: Record<string, Figure>
}

export function figure(values: readonly number[], unit: string): Figure {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 ? sorted[middle] ?? NaN : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2
  return { median, min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN, unit, runs: sorted.length }
}

export function report(
  suite: string,
  setup: string,
  packages: readonly string[],
  figures: Record<string, Figure>,
  missing: readonly string[] = [],
): Report {
  const versions = Object.fromEntries(packages.map((name) => [name, versionOf(name)]))
  return {
    suite,
    machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${process.platform} ${process.arch}`,
    versions: { node: process.version, ...versions },
    setup,
    missing: [...missing],
    figures,
  }
}

/** The version of one of the product's packages, or of a peer. */
function versionOf(name: string): string {
  for (const folder of ['../../node_modules', './node_modules']) {
    const url = new URL(`${folder}/${name}/package.json`, import.meta.url)
    if (existsSync(url)) return (JSON.parse(readFileSync(url, 'utf8')) as { version: string }).version
  }
  return 'not installed'
}

/** Figures as they grow over a benchmark's rounds. */
export class Series {
  readonly #values = new Map<string, { unit: string; values: number[] }>()

  add(name: string, unit: string, value: number): void {
    const series = this.#values.get(name)
    if (series) series.values.push(value)
    else this.#values.set(name, { unit, values: [value] })
  }

  figures(): Record<string, Figure> {
    return Object.fromEntries([...this.#values].map(([name, { unit, values }]) => [name, figure(values, unit)]))
  }
}

/** Microseconds that one call of `work` takes, over `count` calls in a row. */
export function microsecondsOf(work: () => unknown, count: number): number {
  const startedAtMs = performance.now()
  for (let i = 0; i < count; i++) sink = work()
  return (performance.now() - startedAtMs) * 1000 / count
}

/** Keeps results alive, so that no call is optimized away. */
export let sink: unknown

export interface Measured {
  calls: number
  perSecond: number
  p50Us: number
}

/** Latencies and rate of calls by `callers` at once for `forMs`, each making its next when the last is answered. */
export async function closedLoop(call: () => Promise<unknown>, callers: number, forMs: number): Promise<Measured> {
  const latencies: number[] = []
  const startedAtMs = performance.now()
  const endsAtMs = startedAtMs + forMs
  await Promise.all(Array.from({ length: callers }, async () => {
    for (let sentAtMs = startedAtMs; sentAtMs < endsAtMs;) {
      await call()
      const answeredAtMs = performance.now()
      latencies.push(answeredAtMs - sentAtMs)
      sentAtMs = answeredAtMs
    }
  }))
  const seconds = (performance.now() - startedAtMs) / 1000
  latencies.sort((a, b) => a - b)
  return {
    calls: latencies.length,
    perSecond: latencies.length / seconds,
    p50Us: (latencies[latencies.length >> 1] ?? NaN) * 1000,
  }
}
