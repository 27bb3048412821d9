export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Structured logging: a message that never varies, and the values beside it. Values must hold no secret. */
export interface Log {
  (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void
}

export const silentLog: Log = () => {}

const LEVELS: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 }

/** One JSON object per line, written by `write` (console.error by default, which keeps stdout for results). */
export function jsonLog(minimum: LogLevel, write: (line: string) => void = (line) => console.error(line)): Log {
  return (level, message, fields) => {
    if (LEVELS[level] < LEVELS[minimum]) return
    write(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }, printable))
  }
}

/** JSON throws on a bigint and prints an Error as {}. */
function printable(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' || value instanceof Error ? String(value) : value
}
