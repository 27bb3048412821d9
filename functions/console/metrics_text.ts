/**
 * Adds up series of a family in Prometheus's text format. https://prometheus.io/docs/instrumenting/exposition_formats/
 * @param matches whether a series with these labels counts; all do by default
 */
export function sumOf(text: string, family: string, matches: (labels: string) => boolean = () => true): number {
  let sum = 0
  for (const line of text.split('\n')) {
    const [, name, labels = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? []
    if (name === family && matches(labels)) sum += Number(value)
  }
  return sum
}
