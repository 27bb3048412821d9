import type { TrainingRun } from '../gateway/run_board.ts'
import { el, KeyedRows, type Row, setText } from './dom.ts'
import { lineOf, setLine } from './line.ts'
import { counted, inTime } from './words.ts'

const STATES = { running: 'running', ended: 'done', interrupted: 'interrupted' } as const

/** Runs with their loss curves, drawn from what their coordinators tell. */
export function trainingCards(parent: HTMLElement): KeyedRows<TrainingRun> {
  return new KeyedRows(parent, ({ run }) => run, makeCard)
}

function makeCard(): Row<TrainingRun> {
  const name = el('h3')
  const state = el('span', { class: 'badge' })
  const facts = el('p', { class: 'hint' })
  const curve = el('div', { class: 'curve', role: 'img' })
  const top = el('small')
  const [loss, validation] = [lineOf(curve), lineOf(curve, 'validation')]
  const root = el('article', { class: 'run' }, el('div', { class: 'head' }, name, state), facts, top, curve)
  return {
    root,
    update({ run, state: now, step, totalSteps, workers, samplesPerSecond, losses, validation: validated, ageMs }) {
      setText(name, run)
      setText(state, STATES[now])
      state.dataset.tone = now === 'running' ? 'good' : now === 'ended' ? '' : 'warn'
      const latest = losses.at(-1)?.[1]
      const checked = validated.at(-1)?.[1]
      const parts = [
        `step ${step.toLocaleString('en')} of ${totalSteps.toLocaleString('en')}`,
        latest === undefined ? '' : `loss ${latest.toPrecision(3)}`,
        checked === undefined ? '' : `validation ${checked.toPrecision(3)}`,
        now === 'running'
          ? `${Math.round(samplesPerSecond).toLocaleString('en')} samples/s on ${counted(workers, 'worker')}`
          : `${inTime(ageMs)} ago`,
      ]
      setText(facts, parts.filter((part) => part !== '').join(' · '))
      const highest = Math.max(1e-9, ...[...losses, ...validated].map(([, value]) => value))
      const place = (points: readonly [number, number][]) =>
        points.map(([at, value]) => [at / Math.max(1, totalSteps), Math.max(0, value) / highest] as const)
      setLine(loss, place(losses))
      setLine(validation, place(validated))
      setText(
        top,
        losses.length === 0
          ? 'No step is done yet.'
          : `loss${validated.length > 0 ? ', and validation in orange' : ''}, from 0 to ${highest.toPrecision(3)}`,
      )
      curve.setAttribute('aria-label', `Loss of ${run} by step: ${facts.textContent}`)
    },
  }
}
