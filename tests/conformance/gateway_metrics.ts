import { ask } from './gateway_http.ts'

export interface MetricFamily {
  type: string
  /** By series, as written: name and labels. */
  samples: Map<string, number>
}

const TYPE = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$/
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"'
const SAMPLE = new RegExp(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\\{${LABEL}(?:,${LABEL})*\\})? (-?[0-9.e+-]+|[+-]Inf|NaN)$`)

/**
 * Reads Prometheus's text format as strictly as Prometheus does: each family once and under its type, no series twice,
 * a histogram's buckets cumulative and closed by +Inf.
 */
export function parseMetrics(text: string): Map<string, MetricFamily> {
  const families = new Map<string, MetricFamily>()
  let current: MetricFamily | undefined
  let currentName = ''
  if (!text.endsWith('\n')) throw new Error('Expected a line end after the last line')
  for (const line of text.slice(0, -1).split('\n')) {
    const [, name, type = ''] = TYPE.exec(line) ?? []
    if (name !== undefined) {
      if (families.has(name)) throw new Error(`Expected ${name} once, got it twice`)
      families.set(currentName = name, current = { type, samples: new Map() })
      continue
    }
    const [, sample, labels = '', value] = SAMPLE.exec(line) ?? []
    if (sample === undefined) throw new Error(`Expected a sample, got ${JSON.stringify(line)}`)
    const family = current?.type === 'histogram' ? sample.replace(/_(bucket|sum|count)$/, '') : sample
    if (!current || family !== currentName) throw new Error(`Expected a sample of ${currentName}, got ${line}`)
    if (current.samples.has(sample + labels)) throw new Error(`Expected ${sample}${labels} once, got it twice`)
    current.samples.set(sample + labels, Number(value))
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkBuckets(name, family)
  return families
}

function checkBuckets(name: string, { samples }: MetricFamily): void {
  const last = new Map<string, number>()
  for (const [series, value] of samples) {
    const [, labels, bound] = /_bucket\{(?:(.*),)?le="([^"]+)"\}$/.exec(series) ?? []
    if (bound === undefined) continue
    const key = labels ? `{${labels}}` : ''
    if (value < (last.get(key) ?? 0)) throw new Error(`Expected ${series} to be cumulative`)
    last.set(key, value)
    if (bound === '+Inf' && value !== samples.get(`${name}_count${key}`)) {
      throw new Error(`Expected ${series} to be ${name}_count`)
    }
  }
}

/** The value of one series now, 0 if it does not exist. */
export async function metricAt(url: string, series: string): Promise<number> {
  const { text } = await ask(url, 'GET', '/metrics')
  for (const { samples } of parseMetrics(text).values()) {
    const value = samples.get(series)
    if (value !== undefined) return value
  }
  return 0
}
