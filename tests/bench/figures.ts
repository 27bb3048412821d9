import { cpus } from 'node:os'
import process from 'node:process'
import { readFileSync } from 'node:fs'

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
): Report {
  const versions = Object.fromEntries(packages.map((name) => [name, versionOf(name)]))
  return {
    suite,
    machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${process.platform} ${process.arch}`,
    versions: { node: process.version, ...versions },
    setup,
    figures,
  }
}

function versionOf(name: string): string {
  const url = new URL(`../../node_modules/${name}/package.json`, import.meta.url)
  return (JSON.parse(readFileSync(url, 'utf8')) as { version: string }).version
}

/** Microseconds that one call of `work` takes, over `count` calls in a row. */
export function microsecondsOf(work: () => unknown, count: number): number {
  const startedAtMs = performance.now()
  for (let i = 0; i < count; i++) sink = work()
  return (performance.now() - startedAtMs) * 1000 / count
}

/** Keeps results alive, so that no call is optimized away. */
export let sink: unknown

/** Latencies and rate of `calls` calls made by `callers` at once, each making its next when the last is answered. */
export async function closedLoop(
  call: () => Promise<unknown>,
  callers: number,
  calls: number,
): Promise<{ perSecond: number; p50Us: number }> {
  const latencies: number[] = []
  let left = calls
  const startedAtMs = performance.now()
  await Promise.all(Array.from({ length: callers }, async () => {
    while (left-- > 0) {
      const sentAtMs = performance.now()
      await call()
      latencies.push(performance.now() - sentAtMs)
    }
  }))
  const seconds = (performance.now() - startedAtMs) / 1000
  latencies.sort((a, b) => a - b)
  return { perSecond: calls / seconds, p50Us: (latencies[latencies.length >> 1] ?? NaN) * 1000 }
}
