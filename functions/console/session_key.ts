const STORED_AS = 'shoal.key'

/**
 * Takes what came in the URL's fragment (`/join#key=shoal_…`), which browsers send to no server, and clears it: in the
 * address bar and the history a key would be shared by accident.
 */
export function takeFragment(): URLSearchParams {
  const given = new URLSearchParams(location.hash.slice(1))
  if (location.hash !== '') history.replaceState(history.state, '', location.pathname + location.search)
  // Pasting the same address with another fragment does not load the page anew.
  addEventListener('hashchange', () => location.reload())
  return given
}

/** The key this tab presents. It lives as long as the tab and is written nowhere else. */
export class SessionKey {
  #value: string | undefined

  /** @param given a key that came with the page's address; else the one that the tab had before, if any */
  constructor(given: string | null) {
    if (given === null) this.#value = readSession(STORED_AS)
    else this.set(given)
  }

  get value(): string | undefined {
    return this.#value
  }

  set(value: string): void {
    this.#value = value.trim() || undefined
    writeSession(STORED_AS, this.#value)
  }
}

/** Storage may be forbidden: what is kept then lasts until the page is left. */
export function readSession(name: string): string | undefined {
  try {
    return sessionStorage.getItem(name) ?? undefined
  } catch {
    return undefined
  }
}

export function writeSession(name: string, value: string | undefined): void {
  try {
    if (value === undefined) sessionStorage.removeItem(name)
    else sessionStorage.setItem(name, value)
  } catch {
    // As above.
  }
}
