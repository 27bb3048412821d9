import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'
import { el, KeyedRows, type Row, setHidden, setText, setTitle } from './dom.ts'
import type { ModelListing, PoolListing } from './gateway_api.ts'
import { type Amend, modelSettings } from './model_settings.ts'
import { cell, headCell, tableRow } from './table.ts'
import { counted, inBytes, inTime, typeOf } from './words.ts'

/** One model with all its versions, oldest first. */
interface Versions {
  newest: ModelManifest
  versions: string[]
  /** Versions by alias. */
  aliases: Readonly<Record<string, string>>
  /** Calls of any version that wait. */
  waiting: number
}

type Queues = PoolListing['queues']

/** The table of models, one row per name. */
export function modelRows(
  body: HTMLElement,
  amend: Amend,
): { show(listing: ModelListing, queues: Queues): void } {
  const rows = new KeyedRows<Versions>(body, ({ newest }) => newest.name, () => makeRow(amend))
  return { show: (listing, queues) => rows.show(byName(listing, queues)) }
}

function byName({ models, aliases }: ModelListing, queues: Queues): Versions[] {
  const waiting = new Map(queues.map(({ model, calls }) => [model, calls]))
  return [...Map.groupBy(models, ({ name }) => name).values()].flatMap((same) => {
    const newest = same.at(-1)
    if (!newest) return []
    const hashes = new Set(same.map(({ sha256 }) => sha256))
    const calls = [...hashes].reduce((sum, sha256) => sum + (waiting.get(sha256) ?? 0), 0)
    const versions = same.map(({ version }) => version)
    return [{ newest, versions, aliases: aliases[newest.name] ?? {}, waiting: calls }]
  })
}

function makeRow(amend: Amend): Row<Versions> {
  const name = el('strong', { class: 'name' })
  const identity = el('small', { class: 'mono' })
  const versions = el('span')
  const named = el('small')
  const kinds = el('span', { class: 'badges' })
  const kindRows = new KeyedRows<string>(kinds, (kind) => kind, () => {
    const badge = el('span', { class: 'badge' })
    return { root: badge, update: (kind) => setText(badge, kind) }
  })
  const settings = modelSettings(amend)
  const waiting = el('span')
  const inputs = el('ul', { class: 'specs' })
  const outputs = el('ul', { class: 'specs' })
  const size = el('span')
  const root = tableRow(
    headCell(name, identity, kinds),
    cell('Versions', '', versions, named),
    cell('Inputs', 'wide', inputs),
    cell('Outputs', 'wide', outputs),
    cell('Size', 'number', size),
    cell('Waiting', 'number', waiting),
    cell('', 'action', settings.root),
  )
  const [inputRows, outputRows] = [specRows(inputs), specRows(outputs)]
  return {
    root,
    update({ newest, versions: all, aliases, waiting: calls }) {
      setText(name, newest.name)
      setText(identity, newest.sha256.slice(0, 12))
      setTitle(identity, `SHA-256 ${newest.sha256}, opset ${newest.opset}`)
      setText(versions, all.toReversed().join(', '))
      setText(named, Object.entries(aliases).map(([alias, version]) => `${alias} → ${version}`).join(', '))
      kindRows.show(kindsOf(newest))
      setHidden(kinds, kinds.childElementCount === 0)
      setText(waiting, calls.toLocaleString('en'))
      settings.update(newest)
      inputRows.show(newest.signature.inputs)
      outputRows.show(newest.signature.outputs)
      setText(size, inBytes(newest.bytes))
    },
  }
}

/** What is said of a model beyond what its file says. */
function kindsOf({ visibility, cache, maxQueueDelayUs, labels, loop }: ModelManifest): string[] {
  return [
    ...(visibility === 'public' ? ['public'] : []),
    ...(cache ? [`cached ${inTime(cache.ttlMs)}`] : []),
    ...(maxQueueDelayUs ? [`waits ${maxQueueDelayUs / 1000} ms`] : []),
    ...(labels ? [counted(labels.length, 'label')] : []),
    ...(loop ? ['generates'] : []),
  ]
}

function specRows(list: HTMLElement): KeyedRows<TensorSpec> {
  return new KeyedRows(list, ({ name }) => name, () => {
    const name = el('span')
    const type = el('small', { class: 'mono' })
    return {
      root: el('li', {}, name, ' ', type),
      update(spec) {
        setText(name, spec.name)
        setText(type, typeOf(spec))
      },
    }
  })
}
