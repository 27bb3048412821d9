import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { JobState } from '../stores/job_store.ts'
import type { JobFeed } from './job_feed.ts'

export interface JobEvent {
  /** The job's state where that has changed, `progress` where it goes on. */
  event: JobState['state'] | 'progress'
  job: JobState
}

export interface WatchDeps {
  find(): Promise<JobState>
  feed: JobFeed
  clock: Clock
}

/** How often the store is asked: soon after a change, then less and less. News of this process need no asking. */
const FIRST_POLL_MS = 250
const LAST_POLL_MS = 2_000

/** What happens to a job, from its present state until it is over or `signal` aborts. */
export async function* watchJob(id: string, deps: WatchDeps, signal: AbortSignal): AsyncGenerator<JobEvent> {
  const { clock, feed } = deps
  let ring = () => {}
  let rung = false
  const stop = feed.listen(id, () => {
    rung = true
    ring()
  })
  const onAbort = () => ring()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    let known = ''
    let pollMs = FIRST_POLL_MS
    let toldAtMs = clock.now()
    while (!signal.aborted) {
      rung = false
      const job = await deps.find()
      const seen = `${job.state} ${job.attempt} ${job.failures}`
      const isNew = seen !== known
      if (isNew || (job.state === 'running' && clock.now() - toldAtMs >= DEFAULTS.jobBeatMs)) {
        toldAtMs = clock.now()
        yield { event: isNew ? job.state : 'progress', job }
      }
      if (job.finishedAtMs !== undefined) return
      pollMs = isNew ? FIRST_POLL_MS : Math.min(LAST_POLL_MS, pollMs * 1.5)
      known = seen
      // Rung while the store was asked: what it said may be old already.
      if (rung) continue
      let cancel = () => {}
      await new Promise<void>((resolve) => {
        ring = resolve
        cancel = clock.after(pollMs, resolve)
        if (signal.aborted) resolve()
      })
      cancel()
    }
  } finally {
    stop()
    signal.removeEventListener('abort', onAbort)
  }
}
