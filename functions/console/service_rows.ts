import { isSuspect, type LeasedInstance } from '../../shared/stores/lease_store.ts'
import { el, KeyedRows, type Row, setHidden, setText, setTitle } from './dom.ts'
import type { ServiceListing } from './gateway_api.ts'
import { cell, headCell, tableRow } from './table.ts'
import { inTime, shortId } from './words.ts'

/** Instances that are shown: more are counted. */
const MAX_ROWS = 50

type Shown = LeasedInstance & { isFirst: boolean }

/** The table of instances, by service. @returns how many are not shown, and of how many the lease is in doubt */
export function serviceRows(body: HTMLElement): (services: readonly ServiceListing[]) => {
  hidden: number
  suspects: number
} {
  const rows = new KeyedRows<Shown>(body, ({ service, id }) => `${service} ${id}`, makeRow)
  return (services) => {
    const all = services.flatMap(({ instances }) => instances.map((one, i): Shown => ({ ...one, isFirst: i === 0 })))
    rows.show(all.slice(0, MAX_ROWS))
    return { hidden: Math.max(0, all.length - MAX_ROWS), suspects: all.filter(isSuspect).length }
  }
}

function makeRow(): Row<Shown> {
  const service = el('strong', { class: 'name' })
  const version = el('small', { class: 'mono' })
  const address = el('span', { class: 'mono address' })
  const id = el('small', { class: 'mono' })
  const zone = el('span')
  const weight = el('span')
  const suspect = el('span', { class: 'badge', 'data-tone': 'warn' }, 'suspect')
  const beat = el('span')
  const root = tableRow(
    headCell(service, version),
    cell('Reached at', 'wide', address, id),
    cell('Zone', '', zone),
    cell('Weight', 'number', weight),
    cell('Last beat', 'number', suspect, ' ', beat),
  )
  return {
    root,
    update(instance) {
      setText(service, instance.service)
      const group = instance.group === 'default' ? '' : `, group ${instance.group}`
      setText(version, `${instance.version}${group}`)
      const { address: at } = instance
      setText(address, at.kind === 'url' ? at.url : 'through its gateway')
      setText(id, shortId(instance.id))
      setTitle(id, `${instance.id}, incarnation ${instance.incarnation}`)
      setText(zone, instance.zone || '–')
      setText(weight, String(instance.weight))
      setHidden(suspect, !isSuspect(instance))
      setText(beat, `${inTime(instance.ageMs)} ago`)
      setTitle(beat, `The lease lasts ${inTime(instance.ttlMs)} after a beat.`)
    },
  }
}
