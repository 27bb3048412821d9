/** Rows as lines, each column as wide as what stands in it. The last one ends where it ends. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((text, i) => widths[i] = Math.max(widths[i] ?? 0, text.length))
  return rows.map((row) => `${row.map((text, i) => text.padEnd(widths[i] ?? 0)).join('  ').trimEnd()}\n`).join('')
}

/** What somebody typed or a file holds, as an error shows it: short, in quotes, without what a terminal would act on. */
export function quote(text: string, maxLetters = 40): string {
  const letters = Array.from(text.slice(0, 2 * maxLetters + 2))
  const start = letters.slice(0, maxLetters).join('').replace(UNPRINTABLE, '\uFFFD')
  return `${JSON.stringify(start)}${letters.length > maxLetters ? ' …' : ''}`
}

/** Control characters, but for those that JSON escapes; separators of lines; and what turns the direction of writing. */
const UNPRINTABLE = /[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** A float32 with no more digits than tell it from its neighbours: 0.1, not 0.10000000149011612. */
export function shortFloat(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits))
    if (Math.fround(short) === value) return String(short)
  }
  return String(Number(value.toPrecision(9)))
}

interface SystemError extends Error {
  code: string
  path?: string
}

/** What the system's refusals mean to whoever named the file. The rest is left in the system's words. */
const REFUSALS: Readonly<Record<string, string>> = {
  ENOENT: 'it and the folders above it must exist, got none of that name',
  ENOTDIR: 'what stands above it must be a folder, got a file',
  EISDIR: 'a file is required, got a folder',
  EEXIST: 'a folder is required, got a file',
  EACCES: 'this user must be allowed to, got permission denied',
  EPERM: 'this user must be allowed to, got "operation not permitted"',
  EROFS: 'its file system must be writable, got one that is read-only',
  ENOSPC: 'room on its disk is required, got a full one',
  EMFILE: 'more open files must be allowed (ulimit -n), got all in use',
}

/** Words a system's error over a file; undefined for any other error. */
export function wordSystemError(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined
  const { code, path } = thrown as SystemError
  const refusal = path !== undefined && Object.hasOwn(REFUSALS, code) ? REFUSALS[code] : undefined
  return refusal && `Cannot use ${path}: ${refusal}`
}

/**
 * Says a line unless it was the last one said: what goes on for an hour is not repeated every second.
 * @returns takes undefined when it is over, so that the line is said again should it come back
 */
export function sayChanges(say: (line: string) => void): (line: string | undefined) => void {
  let last: string | undefined
  return (line) => {
    if (line !== undefined && line !== last) say(line)
    last = line
  }
}
