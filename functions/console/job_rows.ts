import type { JobView } from '../../shared/contracts/jobs.ts'
import { el, KeyedRows, type Row, setHidden, setText, setTitle } from './dom.ts'
import { cell, headCell, tableRow } from './table.ts'
import { inSpan, shortId } from './words.ts'

/** A job, and what it was said to be for. */
export interface ShownJob extends JobView {
  what: string
}

const TONES: Readonly<Record<string, string>> = { running: 'good', done: 'good', dead: 'bad' }
const WORDS: Readonly<Record<JobView['state'], string>> = {
  queued: 'waiting',
  running: 'running',
  done: 'done',
  dead: 'dead',
  canceled: 'canceled',
}

/** @param act cancels a job that is not over, and queues a dead one again */
export function jobRows(body: HTMLElement, act: (job: ShownJob) => Promise<void>): KeyedRows<ShownJob> {
  return new KeyedRows(body, ({ id }) => id, () => makeRow(act))
}

function makeRow(act: (job: ShownJob) => Promise<void>): Row<ShownJob> {
  let shown: ShownJob | undefined
  const what = el('strong', { class: 'name' })
  const id = el('small', { class: 'mono' })
  const state = el('span', { class: 'badge' })
  const reason = el('small')
  const attempts = el('span')
  const took = el('span')
  const button = el('button', { class: 'small' })
  button.addEventListener('click', async () => {
    if (!shown) return
    button.disabled = true
    await act(shown)
    button.disabled = false
  })
  const root = tableRow(
    headCell(what, id),
    cell('State', 'wide', state, reason),
    cell('Attempts', 'number', attempts),
    cell('Took', 'number', took),
    cell('', 'number action', button),
  )
  return {
    root,
    update(job) {
      shown = job
      setText(what, job.what)
      setText(id, shortId(job.id))
      setTitle(id, job.id)
      setText(state, WORDS[job.state])
      state.dataset.tone = TONES[job.state] ?? ''
      setText(reason, job.error ? `${job.error.code}: ${job.error.message}` : '')
      setText(attempts, `${job.attempts} of ${job.maxAttempts}`)
      setText(took, job.finishedAtMs === undefined ? '–' : inSpan(job.finishedAtMs - job.submittedAtMs))
      const word = job.state === 'dead' ? 'Retry' : 'Cancel'
      setText(button, word)
      button.setAttribute('aria-label', `${word} job ${job.id}`)
      setHidden(button, job.state === 'done' || job.state === 'canceled')
    },
  }
}
