import { Tensor } from '../../shared/wire/tensor.ts'
import { DigitBars } from './digit_bars.ts'
import { EXAMPLES } from './digit_examples.ts'
import { type DigitModel, toProbabilities } from './digit_model.ts'
import { DigitPad } from './digit_pad.ts'
import { DIGIT_SIDE, toDigit } from './digit_pixels.ts'
import { byId, setHidden } from './dom.ts'
import type { Panes } from './panes.ts'
import { showPicture } from './picture_input.ts'
import { toPicture } from '../demo/picture.ts'

/** A drawn digit in, and how likely each class is. */
export class DigitPanes implements Panes<DigitModel> {
  readonly #pad: DigitPad
  readonly #bars = new DigitBars(byId('digit-bars', HTMLElement), byId('digit-read', HTMLElement))
  readonly #seen = byId('digit-seen', HTMLCanvasElement)
  readonly #onInput: () => void
  #examples = 0

  /** @param onInput called when a stroke is complete */
  constructor(onInput: () => void) {
    this.#onInput = onInput
    this.#pad = new DigitPad(byId('digit-pad', HTMLCanvasElement), () => this.#changed())
    byId('clear-digit', HTMLButtonElement).addEventListener('click', () => this.#clear())
    byId('example-digit', HTMLButtonElement).addEventListener('click', () => {
      const example = EXAMPLES[this.#examples++ % EXAMPLES.length]
      if (example) this.#pad.showExample(example.strokes)
    })
    this.#clear()
  }

  adopt(model: DigitModel): void {
    this.#bars.adopt(model.labels)
  }

  setHidden(hidden: boolean): void {
    for (const id of ['digit-panes', 'digit-tools']) setHidden(byId(id, HTMLElement), hidden)
  }

  read({ input }: DigitModel): Record<string, Tensor> | undefined {
    const digit = this.#readDigit()
    if (!digit) return undefined
    showPicture(this.#seen, toPicture(digit))
    return { [input]: digit }
  }

  show({ output }: DigitModel, outputs: Readonly<Record<string, Tensor>>): void {
    // The sheet was cleared before its answer came.
    if (!this.#readDigit()) return
    this.#bars.show(toProbabilities(outputs[output]?.data as Float32Array))
  }

  #readDigit(): Tensor<'float32'> | undefined {
    const { ink, width } = this.#pad.read()
    const digit = toDigit(ink, width)
    return digit && Tensor.from('float32', [1, 1, DIGIT_SIDE, DIGIT_SIDE], digit)
  }

  #changed(): void {
    setHidden(byId('digit-empty', HTMLElement), true)
    if (!this.#pad.isDrawing) this.#onInput()
  }

  #clear(): void {
    this.#pad.clear()
    this.#bars.clear()
    showPicture(this.#seen, toPicture(Tensor.from('float32', [1, 1, DIGIT_SIDE, DIGIT_SIDE], BLANK)))
    setHidden(byId('digit-empty', HTMLElement), false)
  }
}

const BLANK = new Float32Array(DIGIT_SIDE * DIGIT_SIDE)
