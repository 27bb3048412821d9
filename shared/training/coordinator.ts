import { sha256Hex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Fence, WireFormat } from '../contracts/training.ts'
import type { Term } from '../registry/term.ts'
import type { Directory } from '../rpc/directory.ts'
import type { Codec } from '../wire/payload.ts'
import { RpcError } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import {
  type Checkpoint,
  type CheckpointDescription,
  checkSameRun,
  type Evaluation,
  readCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts'
import { stepsPerEpoch } from './data_order.ts'
import { flattenState, restoreState } from './optimizer_state.ts'
import { applyUpdates, meanGradient, type Optimizer, type OptimizerState } from './optimizers.ts'
import type { PreparedRun, PublishedPlan } from './prepare_run.ts'
import { RoundDriver } from './round_driver.ts'
import type { RoundOutcome } from './round_job.ts'
import type { RunStore } from './run_store.ts'
import { alignedUnits } from './units.ts'

export interface CoordinatorDeps {
  clock: Clock
  metrics: Metrics
  log: Log
  /** Relays, or workers themselves. */
  directory: Directory
  /** How messages travel to them. */
  codec: Codec
  store: RunStore
  /** The term in which this coordinator leads the run. */
  term: Term
}

export interface CoordinatorOptions {
  /** The run's name. */
  run: string
  prepared: PreparedRun
  /** SHA-256 and opset of the forward model. */
  model: string
  opset: number
  optimizer: Optimizer
  /** The optimizer and its settings: a run may only be resumed with the same. */
  optimizerName: string
  epochs: number
  /** Steps between checkpoints. */
  checkpointSteps?: number
  /** Ends after this many evaluations without a better loss. */
  patience?: number
  /** Continues from the run's checkpoint, if it has one. */
  resume: boolean
}

export type TrainingEvent =
  | { type: 'started'; step: number; epoch: number; totalSteps: number }
  | {
    type: 'step'
    /** Steps done, and the mean loss of this one, before its update. */
    step: number
    loss: number
    samples: number
    seconds: number
    workers: number
    /** Of tensors, out of the coordinator and into it. */
    sentBytes: number
    receivedBytes: number
  }
  | { type: 'evaluated'; step: number; evaluation: Evaluation; isBest: boolean }
  | { type: 'checkpointed'; step: number; bytes: number }
  | { type: 'ended'; step: number; reason: 'done' | 'stopped early' | 'interrupted' }

/** A relay's own leases run out first: it knows its workers better. */
const RELAY_PATIENCE = 4

/** Leads one run: a step at a time, each the same function of the state before, whoever computes it. */
export class Coordinator {
  readonly #deps: CoordinatorDeps
  readonly #options: CoordinatorOptions
  readonly #driver: RoundDriver
  #parameters: Float32Array<ArrayBuffer>
  #optimizerState: OptimizerState
  #step = 0
  #losses: number[] = []
  #evaluations: Evaluation[] = []

  private constructor(deps: CoordinatorDeps, options: CoordinatorOptions) {
    this.#deps = deps
    this.#options = options
    this.#driver = new RoundDriver({ ...deps, slots: 1, trustsMembers: true, patience: RELAY_PATIENCE })
    this.#parameters = options.prepared.initial.slice()
    this.#optimizerState = options.optimizer.init(this.#parameters.length)
  }

  /**
   * Begins a run, or takes it up where its checkpoint stands.
   * @throws RpcError `already_exists` if there is a checkpoint and `resume` is false, `failed_precondition` if it is of
   *   other settings
   */
  static async open(deps: CoordinatorDeps, options: CoordinatorOptions): Promise<Coordinator> {
    const coordinator = new Coordinator(deps, options)
    // Before reading: what a predecessor writes from now on is refused, so what is read is the last word.
    await deps.store.admit(options.run, deps.term.epoch)
    const file = await deps.store.load(options.run)
    if (file && !options.resume) {
      throw new RpcError(
        'already_exists',
        `Cannot begin run "${options.run}": it has a checkpoint (go on from it with --resume, or name another run)`,
      )
    }
    coordinator.#restore(file && readCheckpoint(file))
    return coordinator
  }

  get step(): number {
    return this.#step
  }
  /** The parameters of the steps committed so far: a view. */
  get parameters(): Float32Array<ArrayBuffer> {
    return this.#parameters
  }
  get losses(): readonly number[] {
    return this.#losses
  }
  get evaluations(): readonly Evaluation[] {
    return this.#evaluations
  }

  /**
   * Trains to the end, with a checkpoint there and on the way.
   * @param signal stops it after the step under way is given up; a checkpoint of the last one committed is written
   * @throws RpcError `aborted` once another coordinator leads the run, and whatever ends a step for good
   */
  async *train(signal: AbortSignal): AsyncGenerator<TrainingEvent, void> {
    const { term } = this.#deps
    const { prepared, epochs, checkpointSteps = DEFAULTS.checkpointSteps } = this.#options
    const perEpoch = stepsPerEpoch(prepared.training.order)
    const totalSteps = perEpoch * epochs
    const either = AbortSignal.any([signal, term.signal])
    yield { type: 'started', step: this.#step, epoch: term.epoch, totalSteps }
    let reason: Extract<TrainingEvent, { type: 'ended' }>['reason'] = 'done'
    let saved = this.#step
    try {
      for (;;) {
        const isEpochEnd = this.#step > 0 && this.#step % perEpoch === 0
        if (isEpochEnd && prepared.validation && this.#evaluations.at(-1)?.step !== this.#step) {
          yield await this.#evaluate(prepared.validation, either)
          saved = -1
        }
        if (saved !== this.#step && (isEpochEnd || this.#step % checkpointSteps === 0)) {
          yield await this.#save()
          saved = this.#step
        }
        if (this.#step >= totalSteps) break
        if (isEpochEnd && this.#isOverfit()) {
          reason = 'stopped early'
          break
        }
        // Read anew before each step: the lease may have run out while this process was paused.
        term.signal.throwIfAborted()
        yield await this.#advance(either)
      }
    } catch (thrown) {
      if (!signal.aborted || term.signal.aborted) throw term.signal.aborted ? term.signal.reason : thrown
      reason = 'interrupted'
    }
    if (saved !== this.#step) yield await this.#save()
    yield { type: 'ended', step: this.#step, reason }
  }

  async #advance(signal: AbortSignal): Promise<TrainingEvent> {
    const { clock } = this.#deps
    const { prepared: { training, settings }, optimizer } = this.#options
    const startedAtMs = clock.now()
    const outcome = await this.#sum(training, this.#step, settings.format, signal)
    const { sum } = outcome
    const count = this.#parameters.length
    const [loss, n] = [sum[count] ?? NaN, sum[count + 1] ?? 0]
    if (n <= 0) throw new RpcError('failed_precondition', `Cannot finish step ${this.#step}: its rows have no weight`)
    const gradient = meanGradient(sum.subarray(0, count), n, true)
    const own = { gradient: true, state: true }
    const { updates, state, isOwn } = optimizer.update(gradient, this.#optimizerState, this.#parameters, own)
    this.#parameters = applyUpdates(this.#parameters, updates, isOwn)
    this.#optimizerState = state
    this.#step++
    this.#losses.push(loss / n)
    this.#deps.metrics.count('shoal_training_steps_total')
    const seconds = (clock.now() - startedAtMs) / 1000
    this.#deps.metrics.observeSeconds('shoal_training_step_duration_seconds', seconds)
    const { workers, sentBytes, receivedBytes } = outcome
    return { type: 'step', step: this.#step, loss: loss / n, samples: n, seconds, workers, sentBytes, receivedBytes }
  }

  async #evaluate(plan: PublishedPlan, signal: AbortSignal): Promise<TrainingEvent> {
    let [loss, correct, n] = [0, 0, 0]
    for (let dataStep = 0; dataStep < stepsPerEpoch(plan.order); dataStep++) {
      const { sum } = await this.#sum(plan, dataStep, 'fp32', signal)
      loss += sum[0] ?? NaN
      correct += sum[1] ?? 0
      n += sum[2] ?? 0
    }
    const hasAnswers = this.#options.prepared.settings.loss !== 'meanSquaredError'
    const evaluation = { step: this.#step, loss: loss / n, ...(hasAnswers && { accuracy: correct / n }) }
    const isBest = this.#evaluations.every((earlier) => earlier.loss > evaluation.loss)
    this.#evaluations.push(evaluation)
    return { type: 'evaluated', step: this.#step, evaluation, isBest }
  }

  /** The sum over all shards of one of a plan's steps, at the parameters as they are. */
  async #sum(
    plan: PublishedPlan,
    dataStep: number,
    format: WireFormat,
    signal: AbortSignal,
  ): Promise<RoundOutcome> {
    const values = Tensor.from('float32', [this.#parameters.length], this.#parameters)
    const fence: Fence = {
      run: this.#options.run,
      epoch: this.#deps.term.epoch,
      step: this.#step,
      parameters: await sha256Hex(values.bytes),
    }
    const whole = { from: 0, to: plan.order.shards }
    // One block for each relay: each then sends one sum.
    const units = alignedUnits(0, whole.to, Math.max(1, this.#deps.directory.list().length))
    const job = { fence, plan: plan.sha256, dataStep, format, values, length: plan.length, whole, units }
    return await this.#driver.run(job, signal)
  }

  /** Writes the checkpoint under this coordinator's epoch: a later one's is never overwritten. */
  async #save(): Promise<TrainingEvent> {
    const { store, term } = this.#deps
    const file = writeCheckpoint({
      description: this.#description(),
      parameters: this.#parameters,
      optimizer: flattenState(this.#optimizerState),
      losses: Float64Array.from(this.#losses),
    })
    await store.commit(this.#options.run, term.epoch, this.#step, file)
    return { type: 'checkpointed', step: this.#step, bytes: file.byteLength }
  }

  #restore(checkpoint: Checkpoint | undefined): void {
    if (!checkpoint) return
    const { prepared } = this.#options
    const { description, parameters, losses, optimizer } = checkpoint
    checkSameRun(description, this.#description())
    if (parameters.length !== prepared.initial.length) {
      throw new RpcError(
        'data_loss',
        `Cannot resume: ${prepared.initial.length} parameters are required, got ${parameters.length}`,
      )
    }
    this.#parameters = parameters
    this.#optimizerState = restoreState(this.#optimizerState, optimizer)
    this.#step = description.step
    this.#losses = [...losses]
    this.#evaluations = [...description.evaluations]
  }

  #description(): CheckpointDescription {
    const { run, model, opset, optimizerName, prepared: { settings, training } } = this.#options
    return {
      format: 'shoal-checkpoint-1',
      run,
      epoch: this.#deps.term.epoch,
      step: this.#step,
      dataEpoch: Math.floor(this.#step / stepsPerEpoch(training.order)),
      model,
      opset,
      settings: { ...settings },
      optimizer: optimizerName,
      plan: training.sha256,
      evaluations: this.#evaluations,
    }
  }

  #isOverfit(): boolean {
    const { patience } = this.#options
    if (patience === undefined) return false
    const losses = this.#evaluations.map(({ loss }) => loss)
    const best = losses.indexOf(Math.min(...losses))
    return best >= 0 && losses.length - 1 - best >= patience
  }
}
