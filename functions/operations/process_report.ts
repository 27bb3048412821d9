import { readdirSync } from 'node:fs'
import { type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'
import process from 'node:process'
import { getHeapStatistics } from 'node:v8'
import { VERSION } from './version.ts'

/** How a process is doing, in numbers that a stranger can read. Sizes in bytes, times in the unit of their name. */
export interface ProcessReport {
  /** What it is: `gateway`, `worker`. */
  role: string
  pid: number
  versions: Record<string, string>
  uptimeSeconds: number
  memory: {
    rssBytes: number
    heapUsedBytes: number
    heapTotalBytes: number
    heapLimitBytes: number
    externalBytes: number
    arrayBuffersBytes: number
  }
  /** Since the last report: how late timers ran, and which part of the time the loop was at work. */
  eventLoop: { delayP50Ms: number; delayP99Ms: number; delayMaxMs: number; utilization: number; sinceSeconds: number }
  cpu: { userSeconds: number; systemSeconds: number }
  /** What keeps the process alive, by kind: timers, sockets, files being read. */
  handles: Record<string, number>
  /** Files and sockets held open; undefined where the system does not tell. */
  openFiles: number | undefined
  /** What the role has to say: queues, workers, leases, tables. */
  parts: Record<string, unknown>
}

/** Under this name the report can be had by `shoal doctor --pid`, through the inspector, even where no HTTP answers. */
const REPORT = Symbol.for('shoal.report')

/** How often the delay of the event loop is sampled. */
const RESOLUTION_MS = 10

export interface ProcessWatch {
  report(): ProcessReport
  stop(): void
}

/**
 * Watches this process from now on.
 * @param role what it is
 * @param parts what it has to say of itself; called for each report, so it must be quick and must not wait
 */
export function watchProcess(role: string, parts: () => Record<string, unknown>): ProcessWatch {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delays.enable()
  let [utilization, sinceMs] = [performance.eventLoopUtilization(), performance.now()]
  const report = (): ProcessReport => {
    const [before, beforeMs] = [utilization, sinceMs]
    utilization = performance.eventLoopUtilization()
    sinceMs = performance.now()
    const { rss, heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage()
    const { user, system } = process.cpuUsage()
    const result: ProcessReport = {
      role,
      pid: process.pid,
      versions: versions(),
      uptimeSeconds: Math.round(process.uptime()),
      memory: {
        rssBytes: rss,
        heapUsedBytes: heapUsed,
        heapTotalBytes: heapTotal,
        heapLimitBytes: getHeapStatistics().heap_size_limit,
        externalBytes: external,
        arrayBuffersBytes: arrayBuffers,
      },
      eventLoop: {
        ...delaysOf(delays),
        utilization: rounded(performance.eventLoopUtilization(utilization, before).utilization),
        sinceSeconds: rounded((sinceMs - beforeMs) / 1000),
      },
      cpu: { userSeconds: rounded(user / 1e6), systemSeconds: rounded(system / 1e6) },
      handles: handles(),
      openFiles: openFiles(),
      parts: parts(),
    }
    delays.reset()
    return result
  }
  Object.defineProperty(globalThis, REPORT, { value: report, configurable: true })
  return { report, stop: () => void delays.disable() }
}

/** How late timers ran. Node counts the time that they were meant to wait, Deno does not. */
function delaysOf(delays: IntervalHistogram) {
  const expectedMs = 'deno' in process.versions ? 0 : RESOLUTION_MS
  const late = (nanoseconds: number) => rounded(Math.max(0, nanoseconds / 1e6 - expectedMs))
  // Without a sample yet, its maximum is 0.
  return {
    delayP50Ms: late(delays.percentile(50)),
    delayP99Ms: late(delays.percentile(99)),
    delayMaxMs: late(delays.max),
  }
}

function versions(): Record<string, string> {
  const { deno, node, v8 } = process.versions
  const runtime: Record<string, string> = deno ? { deno } : { node }
  return { shoal: VERSION, ...runtime, v8, platform: `${process.platform} ${process.arch}` }
}

function handles(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

function openFiles(): number | undefined {
  try {
    // One of them is the folder being read.
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    return undefined
  }
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}
