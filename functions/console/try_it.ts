import { Inference } from '../../shared/contracts/inference.ts'
import type { JobRequest } from '../../shared/contracts/jobs.ts'
import { clientOver } from '../../shared/rpc/client.ts'
import type { Metadata } from '../../shared/rpc/send.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { Tensor } from '../../shared/wire/tensor.ts'
import type { DigitModel } from './digit_model.ts'
import { DigitPanes } from './digit_panes.ts'
import { byId, el, setHidden, setText } from './dom.ts'
import { authorization, type ListedWorker } from './gateway_api.ts'
import type { PictureModel } from './picture_model.ts'
import { PicturePanes } from './picture_panes.ts'
import { readTiming, TimingBar } from './timing_bar.ts'
import { adapterWord, deviceWord, inMs } from './words.ts'

/** A model that can be tried here. */
export type TriedModel = PictureModel | DigitModel

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
  /** Hands a call in as a job and waits for what comes of it. */
  runJob(model: string, request: JobRequest): Promise<unknown>
}

/** The panel that runs a picture or a drawn digit through a model and shows what came back, from whom, and where the time went. */
export class TryIt {
  readonly #deps: TryItDeps
  readonly #run = byId('run', HTMLButtonElement)
  readonly #asJob = byId('run-job', HTMLButtonElement)
  readonly #choice = byId('try-model', HTMLSelectElement)
  readonly #error = byId('try-error', HTMLElement)
  readonly #result = byId('try-result', HTMLElement)
  readonly #timing = new TimingBar(byId('stages', HTMLElement), byId('legend', HTMLElement))
  readonly #pictures: PicturePanes
  readonly #digits: DigitPanes
  #models: readonly TriedModel[] | undefined
  #running = false
  #again = false

  constructor(deps: TryItDeps) {
    this.#deps = deps
    const onInput = () => void this.run()
    this.#pictures = new PicturePanes({ onInput, onProblem: (error) => this.#showError(error) })
    this.#digits = new DigitPanes(onInput)
    this.#run.addEventListener('click', () => this.#isReady() && onInput())
    this.#asJob.addEventListener('click', () => this.#isReady() && void this.#runAsJob())
    this.#choice.addEventListener('change', () => {
      // What is there was another model's answer.
      for (const part of [this.#result, this.#error]) setHidden(part, true)
      this.#adopt()
    })
  }

  /** Offers these models; keeps the one chosen. */
  offer(models: readonly TriedModel[]): void {
    if (JSON.stringify(models) === JSON.stringify(this.#models)) return
    const chosen = this.#choice.value
    this.#models = models
    this.#choice.replaceChildren(...models.map(({ name }) => el('option', { value: name }, name)))
    if (models.some(({ name }) => name === chosen)) this.#choice.value = chosen
    setHidden(byId('model-choice', HTMLElement), models.length === 0)
    setHidden(byId('no-model', HTMLElement), models.length > 0)
    for (const button of [this.#run, this.#asJob]) button.disabled = models.length === 0
    this.#adopt()
  }

  /** Runs what was put in; asked again meanwhile, it runs once more with what is there then. */
  async run(): Promise<void> {
    const model = this.#model
    if (!model) return
    this.#again = this.#running
    if (this.#running) return
    const inputs = this.#readFor(model)
    if (!inputs) return
    this.#setRunning(true)
    try {
      const answer = await this.#call(model, inputs)
      setHidden(this.#error, true)
      // Another model was chosen meanwhile: its own answer belongs here.
      if (this.#model?.name === model.name) await this.#show(model, answer)
    } catch (thrown) {
      this.#showError(RpcError.from(thrown))
    } finally {
      this.#setRunning(false)
    }
    if (this.#again) await this.run()
  }

  #isReady(): boolean {
    const model = this.#model
    const isReady = model !== undefined && this.#readFor(model) !== undefined
    if (model && !isReady) this.#showError(invalid('Nothing is drawn yet: draw a digit, or take an example'))
    return isReady
  }

  /** The same call, kept until someone can do it. */
  async #runAsJob(): Promise<void> {
    const model = this.#model
    const inputs = model && this.#readFor(model)
    if (!inputs) return
    try {
      const result = await this.#deps.runJob(model.name, { model: model.name, inputs, outputs: outputsOf(model) })
      setHidden(this.#error, true)
      if (this.#model?.name !== model.name) return
      // Whoever did it is not told: the answer of a call made before says nothing of this one.
      setHidden(this.#result, true)
      this.#showOutputs(model, (result as { outputs: Record<string, Tensor> }).outputs)
    } catch (thrown) {
      this.#showError(RpcError.from(thrown))
    }
  }

  get #model(): TriedModel | undefined {
    return this.#models?.find(({ name }) => name === this.#choice.value)
  }

  #adopt(): void {
    const model = this.#model
    if (!model) return
    this.#pictures.setHidden(model.kind !== 'picture')
    this.#digits.setHidden(model.kind !== 'digit')
    if (model.kind === 'picture') this.#pictures.adopt(model)
    else this.#digits.adopt(model)
  }

  #readFor(model: TriedModel): Record<string, Tensor> | undefined {
    return model.kind === 'picture' ? this.#pictures.read(model) : this.#digits.read(model)
  }

  async #call(model: TriedModel, inputs: Record<string, Tensor>): Promise<Answer> {
    const headers = authorization(this.#deps.key())
    const inference = clientOver(Inference, { transport: fetchTransport(location.origin, { headers }) })
    let metadata: Metadata = {}
    const outputs = outputsOf(model)
    const startedAtMs = performance.now()
    const answer = await inference.infer(
      { model: model.name, inputs, outputs },
      { onMetadata: (got) => metadata = got },
    )
    return { outputs: answer.outputs, metadata, totalMs: performance.now() - startedAtMs }
  }

  async #show(model: TriedModel, { outputs, metadata, totalMs }: Answer): Promise<void> {
    this.#showOutputs(model, outputs)
    const timing = readTiming(metadata['server-timing'] ?? '', totalMs)
    this.#timing.show(timing)
    const id = metadata['shoal-worker'] ?? ''
    const worker = await this.#deps.findWorker(id)
    const device = deviceWord(worker?.device ?? metadata['shoal-device'] ?? '')
    setText(byId('answered-by', HTMLElement), worker?.name ?? id)
    setText(byId('answered-on', HTMLElement), worker ? `${device}, ${adapterWord(worker.adapter)}` : device)
    setText(byId('answered-in', HTMLElement), `${inMs(totalMs)} ms`)
    byId('stages', HTMLElement).setAttribute('aria-label', `Time of the last call of ${model.name}, by stage`)
    setHidden(this.#result, false)
  }

  #showOutputs(model: TriedModel, outputs: Record<string, Tensor>): void {
    if (model.kind === 'picture') this.#pictures.show(model, outputs)
    else this.#digits.show(model, outputs)
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

function outputsOf(model: TriedModel): string[] {
  return model.kind === 'picture' ? [...model.outputs] : [model.output]
}
