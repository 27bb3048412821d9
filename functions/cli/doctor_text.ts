import type { HotFunction } from '../operations/cpu_profile.ts'
import type { SystemView } from '../operations/proc.ts'
import type { ProcessReport } from '../operations/process_report.ts'

export interface Diagnosis {
  /** What the process says of itself; absent where it cannot. */
  report?: ProcessReport & { store?: { answeredInMs: number; services?: string[]; failure?: string } }
  /** What the system says of it. */
  system?: SystemView
  /** Whether its event loop turns, where that was tried. */
  turns?: boolean
  /** Where it stands, innermost call first, if its event loop does not turn. */
  stack?: string[]
  profile?: { busy: number; hot: HotFunction[]; stack: string[] }
  /** What is wrong, in sentences. */
  findings: string[]
  /** Files written. */
  files: string[]
}

const MAX_LINES = 8
/** Timers this late are felt by callers. */
const LATE_MS = 100
/** Part of the heap's limit from which on the collector works ever harder. */
const FULL_HEAP = 0.8
/** Part of the time at which an event loop has no room left. */
const BUSY_LOOP = 0.9

/** A diagnosis for people. What looks wrong comes first. */
export function textOf(diagnosis: Diagnosis): string {
  const { report, system, stack, profile, files } = diagnosis
  const lines: string[] = []
  const row = (name: string, text: string) => lines.push(`${name.padEnd(11)} ${text}`)
  const findings = [...diagnosis.findings, ...(report ? suspicions(report) : [])]
  for (const finding of findings) row('!', finding)
  if (findings.length === 0) row('well', 'nothing stands out')
  for (const place of stack?.slice(0, MAX_LINES) ?? []) row('', `at ${place}`)
  if (report) addReport(row, report)
  else if (system) {
    row('process', system.command)
    row('memory', `${inMiB(system.rssBytes)} resident`)
  }
  if (system) {
    const { state, threads, openFiles, cpuSeconds } = system
    row('system', `state ${state}, ${threads} threads, ${openFiles} open files, ${cpuSeconds.toFixed(1)} s of CPU`)
  }
  if (profile) {
    row('profile', `busy ${percent(profile.busy)} of the time`)
    for (const { place, share } of profile.hot.slice(0, MAX_LINES)) row('', `${percent(share).padStart(5)} ${place}`)
    if (profile.stack.length > 0) row('most often', profile.stack.join(' → '))
  }
  for (const file of files) row('wrote', file)
  return `${lines.join('\n')}\n`
}

function addReport(row: (name: string, text: string) => void, report: NonNullable<Diagnosis['report']>): void {
  const { role, pid, uptimeSeconds, versions, memory, eventLoop, handles, openFiles, parts, store } = report
  row(role, `process ${pid}, up ${uptimeSeconds} s, ${pairs(versions)}`)
  row(
    'memory',
    `${inMiB(memory.rssBytes)} resident, heap ${inMiB(memory.heapUsedBytes)} of at most ${
      inMiB(memory.heapLimitBytes)
    }, buffers ${inMiB(memory.arrayBuffersBytes)}`,
  )
  row(
    'event loop',
    `late by ${eventLoop.delayP50Ms} ms (median), ${eventLoop.delayP99Ms} (99th percentile), ${eventLoop.delayMaxMs} ` +
      `(most), at work ${percent(eventLoop.utilization)} of the last ${eventLoop.sinceSeconds} s`,
  )
  row('handles', `${pairs(handles) || 'none'}${openFiles === undefined ? '' : `; ${openFiles} open files`}`)
  if (store) {
    const { answeredInMs, services, failure } = store
    row('store', failure ?? `answers in ${answeredInMs} ms, leases of ${services?.join(', ') || 'no service'}`)
  }
  for (const [key, value] of Object.entries(parts)) {
    const name = wordsOf(key)
    if (Array.isArray(value)) {
      row(name, String(value.length || 'none'))
      for (const one of value.slice(0, MAX_LINES)) row('', typeof one === 'object' ? pairs(one) : String(one))
      if (value.length > MAX_LINES) row('', `… ${value.length - MAX_LINES} more (--json)`)
    } else if (typeof value === 'object' && value !== null) {
      Object.entries(value).forEach(([key, number], i) => row(i === 0 ? name : '', `${key} ${number}`))
    } else if (key.endsWith('Seconds')) row(name, `${Number(value).toFixed(1)} s`)
    else row(name, String(value))
  }
}

function suspicions({ memory, eventLoop, store }: NonNullable<Diagnosis['report']>): string[] {
  const found: string[] = []
  if (memory.heapUsedBytes > FULL_HEAP * memory.heapLimitBytes) {
    found.push(`the heap is ${percent(memory.heapUsedBytes / memory.heapLimitBytes)} full: look for a leak with --heap`)
  }
  if (eventLoop.utilization > BUSY_LOOP) {
    found.push(`the event loop is at work ${percent(eventLoop.utilization)} of the time: see on what with --profile`)
  } else if (eventLoop.delayP99Ms > LATE_MS) {
    found.push(`one timer in a hundred is ${eventLoop.delayP99Ms} ms late: see what holds it up with --profile`)
  }
  if (store?.failure !== undefined) found.push(`the store does not answer: ${store.failure}`)
  return found
}

/** A report's key for people: tableAgeSeconds is "table age", and its value has the unit. */
function wordsOf(key: string): string {
  return key.replace(/Seconds$/, '').replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}

function pairs(values: object): string {
  return Object.entries(values).map(([name, value]) => `${name} ${value}`).join(', ')
}

function inMiB(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}

function percent(part: number): string {
  return `${Math.round(100 * part)} %`
}
