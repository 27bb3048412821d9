/**
 * Adds up metrics of several processes, each in Prometheus's text format: every family once, equal series summed. What is
 * counted adds up, and so do our gauges, which count what is there: workers, waiting calls.
 */
export function sumMetrics(texts: readonly string[]): string {
  const families = new Map<string, Map<string, number>>()
  for (const text of texts) {
    let samples = new Map<string, number>()
    for (const line of text.split('\n')) {
      if (line.startsWith('#')) families.set(line, samples = families.get(line) ?? new Map())
      else if (line !== '') {
        const [series, value] = [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]
        samples.set(series, (samples.get(series) ?? 0) + value)
      }
    }
  }
  let sum = ''
  for (const [type, samples] of families) {
    sum += `${type}\n`
    for (const [series, value] of samples) sum += `${series} ${value}\n`
  }
  return sum
}
