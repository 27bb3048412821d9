/** The element with this id. @throws Error if the page lacks it or it is of another kind */
export function byId<E extends HTMLElement>(id: string, kind: { new (): E }): E {
  const found = document.getElementById(id)
  if (found instanceof kind) return found
  throw new Error(`Cannot start the page: it must have a ${kind.name} with id "${id}"`)
}

/**
 * A new element. Text is text: markup in it stays visible and inert, whoever wrote it. That is why nothing in these
 * pages assigns innerHTML.
 */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children)
  return element
}

/** Sets the text only where it differs: a refresh that changes nothing repaints nothing and keeps the selection. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

export function setHidden(element: HTMLElement, hidden: boolean): void {
  if (element.hidden !== hidden) element.hidden = hidden
}

export function setTitle(element: HTMLElement, title: string): void {
  if (element.title !== title) element.title = title
}

export interface Row<T> {
  readonly root: HTMLElement
  update(item: T): void
}

/** Children of `parent` that follow a list: rows are kept by key, so that a refresh neither flickers nor loses focus. */
export class KeyedRows<T> {
  readonly #parent: HTMLElement
  readonly #keyOf: (item: T) => string
  readonly #make: () => Row<T>
  #rows = new Map<string, Row<T>>()

  constructor(parent: HTMLElement, keyOf: (item: T) => string, make: () => Row<T>) {
    this.#parent = parent
    this.#keyOf = keyOf
    this.#make = make
  }

  show(items: readonly T[]): void {
    const rows = new Map<string, Row<T>>()
    for (const item of items) {
      const key = this.#keyOf(item)
      const row = this.#rows.get(key) ?? this.#make()
      row.update(item)
      rows.set(key, row)
    }
    for (const [key, row] of this.#rows) if (!rows.has(key)) row.root.remove()
    this.#rows = rows
    let at = this.#parent.firstElementChild
    for (const { root } of rows.values()) {
      if (root === at) at = at.nextElementSibling
      else this.#parent.insertBefore(root, at)
    }
  }
}
