import { cpuProfile, heapSnapshot } from './capture.ts'
import { watchProcess } from './process_report.ts'

/** All that can be asked of this process, Node or Deno. @param parts as for `watchProcess` */
export function probeProcess(role: string, parts: () => Record<string, unknown>) {
  return { ...watchProcess(role, parts), heapSnapshot, cpuProfile }
}
