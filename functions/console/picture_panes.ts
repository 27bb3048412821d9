import type { RpcError } from '../../shared/wire/errors.ts'
import type { Tensor } from '../../shared/wire/tensor.ts'
import { toPicture, toTensor } from '../demo/picture.ts'
import { byId, el, setHidden } from './dom.ts'
import type { Panes } from './panes.ts'
import { PictureInput, showPicture } from './picture_input.ts'
import type { PictureModel } from './picture_model.ts'
import { wirePictureTools } from './picture_tools.ts'

interface Listener {
  /** A picture or a stroke is complete. */
  onInput(): void
  onProblem(error: RpcError): void
}

/** A picture in, and of the pictures that came back the one chosen. */
export class PicturePanes implements Panes<PictureModel> {
  readonly #answer = byId('answer', HTMLCanvasElement)
  readonly #input: PictureInput
  #outputs: Readonly<Record<string, Tensor>> = {}

  constructor({ onInput, onProblem }: Listener) {
    this.#input = new PictureInput(byId('input', HTMLCanvasElement), onInput)
    wirePictureTools(this.#input, { onPicture: onInput, onProblem })
  }

  adopt(model: PictureModel): void {
    this.#input.demand(model.width, model.height)
    this.#outputs = {}
    const names = model.outputs.map((name, i) => {
      const radio = el('input', { type: 'radio', name: 'output', value: name })
      radio.checked = i === 0
      radio.addEventListener('change', () => this.#showOutput())
      return el('label', {}, radio, el('span', {}, name))
    })
    byId('outputs', HTMLElement).replaceChildren(...names)
  }

  setHidden(hidden: boolean): void {
    for (const id of ['picture-panes', 'picture-tools']) setHidden(byId(id, HTMLElement), hidden)
  }

  read({ input }: PictureModel): Record<string, Tensor> {
    return { [input]: toTensor([this.#input.read()]) }
  }

  show(_model: PictureModel, outputs: Readonly<Record<string, Tensor>>): void {
    this.#outputs = outputs
    this.#showOutput()
    setHidden(byId('answer-empty', HTMLElement), true)
  }

  #showOutput(): void {
    const name = document.querySelector<HTMLInputElement>('input[name=output]:checked')?.value ?? ''
    const tensor = this.#outputs[name]
    if (!tensor) return
    showPicture(this.#answer, toPicture(tensor))
    this.#answer.setAttribute('aria-label', `The model's answer: ${name}`)
  }
}
