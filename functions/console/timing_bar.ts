import { el, KeyedRows, setText } from './dom.ts'
import { inMs } from './words.ts'

/** Where one call's time went. */
export interface CallTiming {
  /** Milliseconds by stage, in the order in which a call meets them. */
  stages: Record<Stage, number>
  /** Calls that shared the run. */
  batch: number
}

/** The stages that the relay reports as `server-timing`, and the way to it. */
const STAGES = {
  queue: 'in the queue',
  load: 'model load',
  wait: 'device busy',
  run: 'computing',
  wire: 'worker link',
  http: 'gateway link',
} as const

export type Stage = keyof typeof STAGES
const NAMES = Object.keys(STAGES) as Stage[]

/**
 * Reads a `server-timing` header. https://www.w3.org/TR/server-timing/
 * @param totalMs of the whole call as its caller saw it: what no stage accounts for was spent on the way
 */
export function readTiming(header: string, totalMs: number): CallTiming {
  const entries = new Map(
    header.split(',').map((entry) => {
      const [name = '', ...parameters] = entry.trim().split(';')
      const pairs = parameters.map((pair) => pair.trim().split('='))
      return [name, new Map(pairs.map(([key = '', value = '']) => [key, value.replaceAll('"', '')]))]
    }),
  )
  const durationOf = (stage: Stage) => Math.max(0, Number(entries.get(stage)?.get('dur')) || 0)
  const stages = Object.fromEntries(NAMES.map((stage) => [stage, durationOf(stage)])) as Record<Stage, number>
  const accounted = NAMES.reduce((sum, stage) => sum + stages[stage], 0)
  stages.http = Math.max(0, totalMs - accounted)
  return { stages, batch: Number(entries.get('batch')?.get('desc')) || 1 }
}

/** A stacked bar of the stages and a legend with their milliseconds. */
export class TimingBar {
  readonly #bar: HTMLElement
  readonly #legend: KeyedRows<{ stage: Stage; ms: number }>

  constructor(bar: HTMLElement, legend: HTMLElement) {
    this.#bar = bar
    this.#legend = new KeyedRows(legend, ({ stage }) => stage, () => {
      const name = el('span')
      const value = el('b')
      const root = el('li', {}, el('i', { 'aria-hidden': 'true' }), name, value)
      return {
        root,
        update({ stage, ms }) {
          root.dataset.stage = stage
          setText(name, STAGES[stage])
          setText(value, `${inMs(ms)} ms`)
        },
      }
    })
  }

  show({ stages }: CallTiming): void {
    const shown = NAMES.map((stage) => ({ stage, ms: stages[stage] }))
    this.#bar.replaceChildren(
      ...shown.filter(({ ms }) => ms > 0).map(({ stage, ms }) => {
        const part = el('span', { 'data-stage': stage })
        part.style.flexGrow = String(ms)
        return part
      }),
    )
    this.#legend.show(shown)
  }
}
