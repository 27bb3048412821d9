/** The one of the names that a typing mistake most likely meant: at most two letters off, and not all of them. */
export function nearest(typed: string, names: readonly string[]): string | undefined {
  const [best] = names.map((name) => ({ name, off: distance(typed, name) })).sort((a, b) => a.off - b.off)
  return best && best.off <= 2 && best.off < best.name.length ? best.name : undefined
}

/** Letters to insert, remove or replace, or neighbours to swap (optimal string alignment). */
function distance(a: string, b: string): number {
  let [before, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
        ? (before[j - 2] ?? 0) + 1
        : Infinity
      row[j] = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replaced, swapped)
    }
    ;[before, last] = [last, row]
  }
  return last[b.length] ?? Infinity
}
