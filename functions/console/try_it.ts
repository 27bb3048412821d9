import { Inference } from '../../shared/contracts/inference.ts'
import { clientOver } from '../../shared/rpc/client.ts'
import type { Metadata } from '../../shared/rpc/send.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { Tensor } from '../../shared/wire/tensor.ts'
import { toPicture, toTensor } from '../demo/picture.ts'
import { byId, el, setHidden, setText } from './dom.ts'
import { authorization, type ListedWorker } from './gateway_api.ts'
import { PictureInput, showPicture } from './picture_input.ts'
import type { PictureModel } from './picture_model.ts'
import { wirePictureTools } from './picture_tools.ts'
import { readTiming, TimingBar } from './timing_bar.ts'
import { adapterWord, deviceWord, inMs } from './words.ts'

interface Answer {
  outputs: Record<string, Tensor>
  metadata: Metadata
  totalMs: number
}

interface TryItDeps {
  key(): string | undefined
  /** The worker of that id, if it is still listed. */
  findWorker(id: string): Promise<ListedWorker | undefined>
  onUnauthenticated(error: RpcError): void
}

/** The panel that runs a picture through a model and shows what came back, from whom, and where the time went. */
export class TryIt {
  readonly #deps: TryItDeps
  readonly #answer = byId('answer', HTMLCanvasElement)
  readonly #run = byId('run', HTMLButtonElement)
  readonly #choice = byId('try-model', HTMLSelectElement)
  readonly #error = byId('try-error', HTMLElement)
  readonly #timing = new TimingBar(byId('stages', HTMLElement), byId('legend', HTMLElement))
  readonly #input: PictureInput
  #models: readonly PictureModel[] = []
  #outputs: Record<string, Tensor> = {}
  #running = false
  #again = false

  constructor(deps: TryItDeps) {
    this.#deps = deps
    this.#input = new PictureInput(byId('input', HTMLCanvasElement), () => void this.run())
    wirePictureTools(this.#input, { onPicture: () => void this.run(), onProblem: (error) => this.#showError(error) })
    this.#run.addEventListener('click', () => void this.run())
    this.#choice.addEventListener('change', () => this.#adopt())
  }

  /** Offers these models; keeps the one chosen. */
  offer(models: readonly PictureModel[]): void {
    if (JSON.stringify(models) === JSON.stringify(this.#models)) return
    const chosen = this.#choice.value
    this.#models = models
    this.#choice.replaceChildren(...models.map(({ name }) => el('option', { value: name }, name)))
    if (models.some(({ name }) => name === chosen)) this.#choice.value = chosen
    setHidden(byId('model-choice', HTMLElement), models.length === 0)
    setHidden(byId('no-model', HTMLElement), models.length > 0)
    this.#run.disabled = models.length === 0
    this.#adopt()
  }

  /** Runs the picture; asked again meanwhile, it runs once more with what is there then. */
  async run(): Promise<void> {
    const model = this.#model
    if (!model) return
    this.#again = this.#running
    if (this.#running) return
    this.#setRunning(true)
    try {
      const answer = await this.#call(model)
      setHidden(this.#error, true)
      await this.#show(model, answer)
    } catch (thrown) {
      this.#showError(RpcError.from(thrown))
    } finally {
      this.#setRunning(false)
    }
    if (this.#again) await this.run()
  }

  get #model(): PictureModel | undefined {
    return this.#models.find(({ name }) => name === this.#choice.value)
  }

  #adopt(): void {
    const model = this.#model
    if (!model) return
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

  async #call({ name, input, outputs }: PictureModel): Promise<Answer> {
    const headers = authorization(this.#deps.key())
    const inference = clientOver(Inference, { transport: fetchTransport(location.origin, { headers }) })
    let metadata: Metadata = {}
    const inputs = { [input]: toTensor([this.#input.read()]) }
    const startedAtMs = performance.now()
    const answer = await inference.infer(
      { model: name, inputs, outputs: [...outputs] },
      { onMetadata: (got) => metadata = got },
    )
    return { outputs: answer.outputs, metadata, totalMs: performance.now() - startedAtMs }
  }

  async #show(model: PictureModel, { outputs, metadata, totalMs }: Answer): Promise<void> {
    this.#outputs = outputs
    this.#showOutput()
    const timing = readTiming(metadata['server-timing'] ?? '', totalMs)
    this.#timing.show(timing)
    const id = metadata['shoal-worker'] ?? ''
    const worker = await this.#deps.findWorker(id)
    const device = deviceWord(worker?.device ?? metadata['shoal-device'] ?? '')
    setText(byId('answered-by', HTMLElement), worker?.name ?? id)
    setText(byId('answered-on', HTMLElement), worker ? `${device}, ${adapterWord(worker.adapter)}` : device)
    setText(byId('answered-in', HTMLElement), `${inMs(totalMs)} ms`)
    byId('stages', HTMLElement).setAttribute('aria-label', `Time of the last call of ${model.name}, by stage`)
    setHidden(byId('try-result', HTMLElement), false)
    setHidden(byId('answer-empty', HTMLElement), true)
  }

  #showOutput(): void {
    const name = document.querySelector<HTMLInputElement>('input[name=output]:checked')?.value ?? ''
    const tensor = this.#outputs[name]
    if (!tensor) return
    showPicture(this.#answer, toPicture(tensor))
    this.#answer.setAttribute('aria-label', `The model's answer: ${name}`)
  }

  #showError(error: RpcError): void {
    if (error.code === 'unauthenticated') this.#deps.onUnauthenticated(error)
    setText(this.#error, error.message)
    setHidden(this.#error, false)
  }

  #setRunning(running: boolean): void {
    this.#running = running
    setText(this.#run, running ? 'Running…' : 'Run')
    this.#run.setAttribute('aria-busy', String(running))
  }
}
