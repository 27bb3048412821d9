/** Counters, gauges and histograms with Prometheus's text format. Names carry base units: _seconds, _bytes, _total. */
export type Labels = Readonly<Record<string, string>>

/** Upper bounds in seconds: from 0.5 ms, a local call, to 30 s, the default deadline. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

interface Histogram {
  counts: number[]
  sum: number
  count: number
}

export class Metrics {
  readonly #counters = new Map<string, number>()
  readonly #gauges = new Map<string, () => number>()
  readonly #histograms = new Map<string, Histogram>()

  /** Adds to a counter. Labels must be few and bounded: never an id. */
  count(name: string, labels?: Labels, by = 1): void {
    const key = series(name, labels)
    this.#counters.set(key, (this.#counters.get(key) ?? 0) + by)
  }

  /** The value of a counter, 0 if it never rose. */
  valueOf(name: string, labels?: Labels): number {
    return this.#counters.get(series(name, labels)) ?? 0
  }

  /** Registers a gauge, read when metrics are rendered. */
  gauge(name: string, read: () => number, labels?: Labels): void {
    this.#gauges.set(series(name, labels), read)
  }

  observeSeconds(name: string, seconds: number, labels?: Labels): void {
    const key = series(name, labels)
    let histogram = this.#histograms.get(key)
    if (!histogram) {
      histogram = { counts: new Array(BUCKETS.length).fill(0), sum: 0, count: 0 }
      this.#histograms.set(key, histogram)
    }
    const bucket = BUCKETS.findIndex((bound) => seconds <= bound)
    if (bucket >= 0) histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + 1
    histogram.sum += seconds
    histogram.count++
  }

  /** Counters and gauges as they stand, by series. */
  values(): Record<string, number> {
    const values = Object.fromEntries(this.#counters)
    for (const [key, read] of this.#gauges) values[key] = read()
    return values
  }

  /** The Prometheus text exposition format, version 0.0.4. */
  render(): string {
    const groups = new Map<string, { type: string; lines: string[] }>()
    const add = (key: string, type: string, lines: string[]) => {
      const name = key.split('{', 1)[0] ?? key
      const group = groups.get(name) ?? { type, lines: [] }
      group.lines.push(...lines)
      groups.set(name, group)
    }
    for (const [key, value] of this.#counters) add(key, 'counter', [`${key} ${value}`])
    for (const [key, read] of this.#gauges) add(key, 'gauge', [`${key} ${read()}`])
    for (const [key, histogram] of this.#histograms) add(key, 'histogram', histogramLines(key, histogram))
    let text = ''
    for (const [name, group] of groups) text += `# TYPE ${name} ${group.type}\n${group.lines.join('\n')}\n`
    return text
  }
}

function series(name: string, labels?: Labels): string {
  if (!labels) return name
  let keys = known.get(labels)
  if (!keys) known.set(labels, keys = new Map())
  let key = keys.get(name)
  if (key === undefined) keys.set(name, key = name + labelText(labels))
  return key
}

/** Series by labels and name, remembered for as long as the labels live: hot paths pass the same object every time. */
const known = new WeakMap<Labels, Map<string, string>>()

function labelText(labels: Labels): string {
  // Sorted, so that labels given in another order name the same series.
  const pairs = Object.entries(labels).sort(([a], [b]) => a < b ? -1 : 1)
    .map(([label, value]) => `${label}="${escapeLabel(value)}"`)
  return pairs.length > 0 ? `{${pairs.join(',')}}` : ''
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function histogramLines(key: string, histogram: Histogram): string[] {
  const brace = key.indexOf('{')
  const name = brace < 0 ? key : key.slice(0, brace)
  const labels = brace < 0 ? '' : key.slice(brace + 1, -1) + ','
  let cumulative = 0
  const lines = BUCKETS.map((bound, i) => {
    cumulative += histogram.counts[i] ?? 0
    return `${name}_bucket{${labels}le="${bound}"} ${cumulative}`
  })
  const suffix = brace < 0 ? '' : key.slice(brace)
  lines.push(`${name}_bucket{${labels}le="+Inf"} ${histogram.count}`)
  lines.push(`${name}_sum${suffix} ${histogram.sum}`, `${name}_count${suffix} ${histogram.count}`)
  return lines
}
