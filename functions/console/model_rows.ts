import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'
import { el, KeyedRows, type Row, setText, setTitle } from './dom.ts'
import { inBytes, typeOf } from './words.ts'

/** One model with all its versions, oldest first. */
interface Versions {
  newest: ModelManifest
  versions: string[]
}

/** The table of models, one row per name. */
export function modelRows(body: HTMLElement): { show(models: readonly ModelManifest[]): void } {
  const rows = new KeyedRows<Versions>(body, ({ newest }) => newest.name, makeRow)
  return { show: (models) => rows.show(byName(models)) }
}

function byName(models: readonly ModelManifest[]): Versions[] {
  return [...Map.groupBy(models, ({ name }) => name).values()].flatMap((same) => {
    const newest = same.at(-1)
    return newest ? [{ newest, versions: same.map(({ version }) => version) }] : []
  })
}

function makeRow(): Row<Versions> {
  const name = el('strong', { class: 'name' })
  const identity = el('small', { class: 'mono' })
  const versions = el('span')
  const inputs = el('ul', { class: 'specs' })
  const outputs = el('ul', { class: 'specs' })
  const size = el('span')
  const root = el(
    'tr',
    { role: 'row' },
    el('th', { role: 'rowheader', scope: 'row', class: 'wide' }, name, identity),
    el('td', { role: 'cell', 'data-label': 'Versions' }, versions),
    el('td', { role: 'cell', 'data-label': 'Inputs', class: 'wide' }, inputs),
    el('td', { role: 'cell', 'data-label': 'Outputs', class: 'wide' }, outputs),
    el('td', { role: 'cell', 'data-label': 'Size', class: 'number' }, size),
  )
  const [inputRows, outputRows] = [specRows(inputs), specRows(outputs)]
  return {
    root,
    update({ newest, versions: all }) {
      setText(name, newest.name)
      setText(identity, newest.sha256.slice(0, 12))
      setTitle(identity, `SHA-256 ${newest.sha256}, opset ${newest.opset}`)
      setText(versions, all.toReversed().join(', '))
      inputRows.show(newest.signature.inputs)
      outputRows.show(newest.signature.outputs)
      setText(size, inBytes(newest.bytes))
    },
  }
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
