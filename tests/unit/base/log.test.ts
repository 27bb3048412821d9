import { describe, expect, it } from 'vitest'
import { jsonLog } from '../../../shared/base/log.ts'

describe('jsonLog', () => {
  it('writes one JSON object per line with its fields beside the message', () => {
    const lines: string[] = []
    jsonLog('info', (line) => lines.push(line))('warn', 'worker left', { worker: 'w1', calls: 2 })
    expect(lines).toHaveLength(1)
    const { time, ...rest } = JSON.parse(lines[0] ?? '')
    expect(rest).toEqual({ level: 'warn', message: 'worker left', worker: 'w1', calls: 2 })
    expect(new Date(time).toISOString()).toBe(time)
  })

  it('is silent below its level', () => {
    const levels: string[] = []
    const log = jsonLog('warn', (line) => levels.push(JSON.parse(line).level))
    for (const level of ['debug', 'info', 'warn', 'error'] as const) log(level, 'x')
    expect(levels).toEqual(['warn', 'error'])
  })

  it('says what an error was and never fails on a bigint', () => {
    const lines: string[] = []
    jsonLog('info', (line) => lines.push(line))('error', 'x', {
      error: new TypeError('broken\nline'),
      count: 2n ** 60n,
    })
    expect(lines[0]).not.toContain('\n')
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ error: 'TypeError: broken\nline', count: '1152921504606846976' })
  })
})
