import { el, KeyedRows, type Row, setHidden, setText, setTitle } from './dom.ts'
import type { ListedWorker } from './gateway_api.ts'
import { adapterWord, deviceWord, inTime, shortId } from './words.ts'

/** The table of workers. Everything a worker says of itself is its own word, shown as text. */
export function workerRows(body: HTMLElement): KeyedRows<ListedWorker> {
  return new KeyedRows(body, ({ relay, id }) => `${relay} ${id}`, makeRow)
}

function makeRow(): Row<ListedWorker> {
  const name = el('strong', { class: 'name' })
  const id = el('small', { class: 'mono' })
  const device = el('span', { class: 'badge' })
  const software = el('span', { class: 'badge', 'data-tone': 'warn' }, 'software')
  const draining = el('span', { class: 'badge', 'data-tone': 'warn' }, 'leaving')
  const adapter = el('span')
  const reason = el('small')
  const relay = el('span', { class: 'mono' })
  const inFlight = el('span')
  const served = el('span')
  const connected = el('span')
  const root = el(
    'tr',
    { role: 'row' },
    el('th', { role: 'rowheader', scope: 'row', class: 'wide' }, name, id),
    cell('Device', '', el('span', { class: 'badges' }, device, software, draining)),
    cell('Adapter', 'wide', adapter, reason),
    cell('Relay', '', relay),
    cell('In flight', 'number', inFlight),
    cell('Served', 'number', served),
    cell('Connected', 'number', connected),
  )
  return {
    root,
    update(worker) {
      setText(name, worker.name)
      setTitle(name, worker.name)
      setText(id, shortId(worker.id))
      setTitle(id, worker.id)
      setText(device, deviceWord(worker.device))
      device.dataset.device = worker.device
      setTitle(device, worker.build === 'native' ? 'onnxruntime-node' : `onnxruntime-web, ${worker.build} build`)
      setHidden(software, !worker.fallbackAdapter)
      setHidden(draining, !worker.draining)
      setText(adapter, adapterWord(worker.adapter))
      setTitle(adapter, worker.adapter)
      setText(reason, worker.reason)
      setText(relay, shortId(worker.relay))
      setTitle(relay, worker.relay)
      setText(inFlight, String(worker.inFlight))
      setText(served, worker.served.toLocaleString('en'))
      setText(connected, inTime(worker.connectedMs))
    },
  }
}

/** A cell that carries its column's name: on a narrow screen rows become cards. */
function cell(label: string, kind: string, ...children: Node[]): HTMLTableCellElement {
  return el('td', { role: 'cell', 'data-label': label, class: kind }, ...children)
}
