import { el } from './dom.ts'

/** A cell that carries its column's name: on a narrow screen rows become cards. */
export function cell(label: string, kind: string, ...children: (Node | string)[]): HTMLTableCellElement {
  return el('td', { role: 'cell', 'data-label': label, class: kind }, ...children)
}

/** The cell that names its row. */
export function headCell(...children: Node[]): HTMLTableCellElement {
  return el('th', { role: 'rowheader', scope: 'row', class: 'wide' }, ...children)
}

/** A row, of a head cell and others. */
export function tableRow(...cells: HTMLTableCellElement[]): HTMLTableRowElement {
  return el('tr', { role: 'row' }, ...cells)
}
