import { el, setText } from './dom.ts'

interface Bar {
  root: HTMLElement
  fill: HTMLElement
  share: HTMLElement
}

/** A bar for each class, as long as the class is likely, and the likeliest one in large. */
export class DigitBars {
  readonly #list: HTMLElement
  readonly #winner: HTMLElement
  #labels: readonly string[] = []
  #bars: readonly Bar[] = []

  constructor(list: HTMLElement, winner: HTMLElement) {
    this.#list = list
    this.#winner = winner
  }

  adopt(labels: readonly string[]): void {
    if (JSON.stringify(labels) === JSON.stringify(this.#labels)) return
    this.#labels = labels
    this.#bars = labels.map((label) => {
      const fill = el('i')
      const share = el('b')
      const root = el('li', {}, el('span', {}, label), el('span', { class: 'bar', 'aria-hidden': 'true' }, fill), share)
      return { root, fill, share }
    })
    this.#list.replaceChildren(...this.#bars.map(({ root }) => root))
    this.clear()
  }

  /** @param probabilities one for each label, 0 to 1 */
  show(probabilities: readonly number[]): void {
    const best = probabilities.indexOf(Math.max(...probabilities))
    this.#bars.forEach(({ root, fill, share }, i) => {
      const probability = probabilities[i] ?? 0
      root.classList.toggle('best', i === best)
      fill.style.width = `${100 * probability}%`
      setText(share, inPercent(probability))
    })
    setText(this.#winner, this.#labels[best] ?? '')
  }

  clear(): void {
    for (const { root, fill, share } of this.#bars) {
      root.classList.remove('best')
      fill.style.width = '0'
      setText(share, '')
    }
    setText(this.#winner, '')
  }
}

/** Rounded down: what is not certain is not called 100 %. */
function inPercent(probability: number): string {
  return `${(Math.floor(1000 * probability) / 10).toFixed(1)} %`
}
