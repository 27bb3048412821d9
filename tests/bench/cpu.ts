import { readFileSync } from 'node:fs'

/** Linux counts processor time in ticks of 10 ms: measure over a second and more of work. */
const US_PER_TICK = 10_000

/**
 * Processor time that processes have used so far, user and system, all threads, in microseconds. On a machine shared
 * with others it tells far more than throughput does. Linux only: NaN elsewhere.
 */
export function cpuUs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + ticksOf(pid) * US_PER_TICK, 0)
}

/** A process and those that it started, such as a server's workers. */
export function family(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim().split(' ').filter(Boolean)
    return [pid, ...children.flatMap((child) => family(Number(child)))]
  } catch {
    return [pid]
  }
}

function ticksOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The second field is the program's name in parentheses, and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return Number(fields[11]) + Number(fields[12])
  } catch {
    return NaN
  }
}
