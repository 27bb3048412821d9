import { Session } from 'node:inspector'
import { Readable } from 'node:stream'
import { getHeapSnapshot } from 'node:v8'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import type { CpuProfile } from './cpu_profile.ts'

/** This process's heap, in the format of Chromium's developer tools. It stands still while the snapshot is taken. */
export function heapSnapshot(): ReadableStream<Uint8Array> {
  return Readable.toWeb(getHeapSnapshot()) as ReadableStream<Uint8Array>
}

/**
 * What this process spends its time on, for `ms`, in the format of Chromium's developer tools.
 * @param signal ends it early: what was sampled by then is the answer
 */
export async function cpuProfile(ms: number, signal: AbortSignal): Promise<CpuProfile> {
  const session = new Session()
  session.connect()
  const post = <T>(method: string): Promise<T> =>
    new Promise((resolve, reject) =>
      session.post(method, (error: Error | null, result?: object) => error ? reject(error) : resolve(result as T))
    )
  try {
    await post('Profiler.enable')
    await post('Profiler.start')
    await sleep(systemClock, ms, signal).catch(() => {})
    return (await post<{ profile: CpuProfile }>('Profiler.stop')).profile
  } finally {
    session.disconnect()
  }
}
