import { byId, setHidden, setText } from './dom.ts'
import type { SessionKey } from './session_key.ts'

/** Asks for a key where the gateway wants one. The form stands in both pages under the same ids. */
export class KeyForm {
  readonly #form = byId('key-form', HTMLFormElement)
  readonly #input = byId('key-input', HTMLInputElement)
  readonly #key: SessionKey
  readonly #reason = byId('key-reason', HTMLElement)

  constructor(key: SessionKey, onKey: () => void) {
    this.#key = key
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault()
      key.set(this.#input.value)
      this.#input.value = ''
      this.hide()
      onKey()
    })
  }

  /** True while the page waits for a key: asking the gateway without one is of no use. */
  get asking(): boolean {
    return !this.#form.hidden
  }

  /** @param reason what the gateway said. Where no key was presented, the page tells better how to come by one. */
  show(reason: string): void {
    const isRefused = this.#key.value !== undefined
    // Hidden or not, it stands there: a headless host tells it on its command line.
    setText(this.#reason, isRefused ? `That key was refused: ${shortened(reason)}.` : reason)
    setHidden(this.#reason, !isRefused)
    setHidden(byId('key-hint', HTMLElement), isRefused)
    if (!this.#form.hidden) return
    setHidden(this.#form, false)
    this.#input.focus()
  }

  hide(): void {
    setHidden(this.#form, true)
  }
}

/** Without what a person has no use for: what was refused, and the header that carries a key. */
function shortened(reason: string): string {
  return reason.replace(/^Cannot [^:]*: /, '').replace(/ \(Authorization: .*\)$/, '')
}
