import { limitsText } from '../../shared/pool/capacity.ts'
import { el, KeyedRows, type Row, setHidden, setText, setTitle } from './dom.ts'
import type { ListedWorker } from './gateway_api.ts'
import { cell, headCell, tableRow } from './table.ts'
import { adapterWord, deviceWord, inBytes, inTime, shortId } from './words.ts'

/** What a worker's hashes and relay mean. */
export interface WorkerNames {
  /** A model's name by its hash. */
  model(sha256: string): string | undefined
  /** The address of a relay that has one of its own: a GPU host. */
  address(relay: string): string | undefined
}

/** The table of workers. Everything a worker says of itself is its own word, shown as text. */
export function workerRows(body: HTMLElement, names: WorkerNames): KeyedRows<ListedWorker> {
  return new KeyedRows(body, ({ relay, id }) => `${relay} ${id}`, () => makeRow(names))
}

function makeRow(names: WorkerNames): Row<ListedWorker> {
  const name = el('strong', { class: 'name' })
  const id = el('small', { class: 'mono' })
  const device = el('span', { class: 'badge' })
  const software = el('span', { class: 'badge', 'data-tone': 'warn' }, 'software')
  const draining = el('span', { class: 'badge', 'data-tone': 'warn' }, 'leaving')
  const hidden = el('span', { class: 'badge', 'data-tone': 'warn' }, 'hidden')
  const adapter = el('span')
  const reason = el('small')
  const models = el('span')
  const memory = el('small', { class: 'whole' })
  const refused = el('small', { class: 'whole', 'data-tone': 'warn' })
  const speed = el('span')
  const inFlight = el('span')
  const served = el('span')
  const connected = el('span')
  const root = tableRow(
    headCell(name, id),
    cell('Device', '', el('span', { class: 'badges' }, device, software, hidden, draining)),
    cell('Adapter', 'wide', adapter, reason),
    cell('Models loaded', 'wide', models, memory, refused),
    cell('GFLOP/s', 'number', speed),
    cell('In flight', 'number', inFlight),
    cell('Served', 'number', served),
    cell('Connected', 'number', connected),
  )
  return {
    root,
    update(worker) {
      setText(name, worker.name)
      setTitle(name, worker.name)
      const host = names.address(worker.relay)
      setText(id, host ? `at ${host.replace(/^https?:\/\//, '')}` : `on ${shortId(worker.relay)}`)
      setTitle(id, `${worker.id} on ${worker.relay}`)
      setText(device, deviceWord(worker.device))
      device.dataset.device = worker.device
      setTitle(device, worker.build === 'native' ? 'onnxruntime-node' : `onnxruntime-web, ${worker.build} build`)
      setHidden(software, !worker.fallbackAdapter)
      setHidden(draining, !worker.draining)
      setText(adapter, adapterWord(worker.adapter))
      setTitle(adapter, worker.adapter)
      setText(reason, worker.reason)
      setTitle(reason, limitsText(worker.limits) ?? '')
      const loaded = worker.models.map((sha256) => names.model(sha256) ?? sha256.slice(0, 8))
      setText(models, [...new Set(loaded)].join(', ') || 'none yet')
      const { memory: room, gflops, share = 1 } = worker
      setText(memory, room ? `${inBytes(room.usedBytes)} of ${inBytes(room.budgetBytes)}` : '')
      const notGiven = worker.refused?.map((one) =>
        `${names.model(one.model) ?? one.model.slice(0, 8)} (${one.reason})`
      )
      setText(refused, notGiven ? `Not given: ${notGiven.join('; ')}` : '')
      setText(speed, gflops === undefined ? '–' : gflops < 10 ? gflops.toFixed(1) : gflops.toFixed(0))
      setHidden(hidden, share >= 1)
      setTitle(hidden, `Its tab is hidden: it offers ${Math.round(100 * share)} % of its speed.`)
      setText(inFlight, String(worker.inFlight))
      setText(served, worker.served.toLocaleString('en'))
      setText(connected, inTime(worker.connectedMs))
    },
  }
}
