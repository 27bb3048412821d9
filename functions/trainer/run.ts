import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { sha256Hex } from '../../shared/base/bytes.ts'
import { systemClock } from '../../shared/base/clock.ts'
import type { Log } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { newId } from '../../shared/base/random.ts'
import { openEngine } from '../../shared/engine/open_engine.ts'
import { describeHost, loadOrtNode } from '../../shared/engine/ort_node.ts'
import { readSignature } from '../../shared/models/signature.ts'
import { campaign } from '../../shared/registry/campaign.ts'
import type { Term } from '../../shared/registry/term.ts'
import type { ElectionStore } from '../../shared/stores/election_store.ts'
import { makeFolder } from '../../shared/stores/file_folder.ts'
import type { Evaluation } from '../../shared/training/checkpoint.ts'
import { Coordinator, type TrainingEvent } from '../../shared/training/coordinator.ts'
import { stepsPerEpoch } from '../../shared/training/data_order.ts'
import { rowCount } from '../../shared/training/data_rows.ts'
import { withParameters } from '../../shared/training/parameters.ts'
import { type PreparedRun, prepareRun, type RunSettings } from '../../shared/training/prepare_run.ts'
import type { RunModel } from '../../shared/training/trace_shapes.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { GatewayAccess } from '../cli/command.ts'
import type { LocalRelay } from '../gateway/host.ts'
import { GatewayDirectory, type ListedWorker } from './gateway_directory.ts'
import { checkDataset, loadDataset } from './load_dataset.ts'
import { curveCsv, curveSvg } from './loss_curve.ts'
import { optimizerName, optimizerOf, type OptimizerSettings } from './optimizer.ts'
import { openRuns, openSharedRuns } from './runs.ts'
import { RunReporter } from './run_reporter.ts'
import { putBlobTo } from './trainer_gateway.ts'

export interface RunOptions {
  access: GatewayAccess
  /** The relay of this process, if the gateway runs here: nothing on the way to it is encoded. */
  local?: LocalRelay
  /** The forward model's file. */
  model: string
  /** What loadDataset reads. */
  data: string
  out: string
  /** Checkpoints, the loss curve, and who leads. */
  folder: string
  run: string
  settings: Omit<RunSettings, 'validationRows'>
  /** A share of all rows below 1, or their number. */
  validation: number
  axes?: Readonly<Record<string, number>>
  optimizer: OptimizerSettings
  epochs: number
  checkpointSteps?: number
  patience?: number
  resume: boolean
  leaseMs?: number
  log: Log
  signal: AbortSignal
  onEvent(event: RunEvent): void
}

export type RunEvent =
  | TrainingEvent
  | { type: 'prepared'; parameters: number; rows: number; validationRows: number; bytes: number }
  /** Who leads the run is decided there, and checkpoints are found there. */
  | { type: 'runs'; where: string }
  | { type: 'waiting'; heldForMs: number }
  | { type: 'workers'; workers: readonly ListedWorker[] }
  | { type: 'written'; file: string; bytes: number; sha256: string; loss: number; evaluation?: Evaluation }

/** Looks whether model and data are there, and the model is one: before a gateway and workers are started for them. */
export async function checkFiles({ model, data }: Pick<RunOptions, 'model' | 'data'>): Promise<void> {
  readSignature(await readModel(model))
  await checkDataset(data)
}

async function readModel(file: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await readFile(file).catch((cause) => {
    if (cause.code !== 'ENOENT') throw cause
    throw new RpcError('not_found', `Cannot train ${file}: an ONNX file is required, got no such file`, { cause })
  })
  return new Uint8Array(bytes)
}

/** Trains a model on a gateway's workers and writes what came out: all of `shoal train` but its words. */
export async function trainOnGateway(options: RunOptions): Promise<void> {
  const { access, folder, run, onEvent, signal, log } = options
  const model = await readModel(options.model)
  const { opset } = readSignature(model)
  const prepared = await prepare(options, model)

  await makeFolder(folder)
  // A gateway of this very process is nobody else's: its runs are in the folder.
  const runs = (options.local ? undefined : await openSharedRuns(process.env, access)) ?? await openRuns(folder)
  onEvent({ type: 'runs', where: runs.description })
  const directory = new GatewayDirectory(access, systemClock, options.local)
  const stopListening = directory.onChange(() => onEvent({ type: 'workers', workers: directory.workers }))
  try {
    const term = await stand(runs.elections, options)
    try {
      const totalSteps = stepsPerEpoch(prepared.training.order) * options.epochs
      const deps = {
        clock: systemClock,
        metrics: new Metrics(),
        log,
        directory,
        codec: 'value',
        store: runs.store,
        term,
      } as const
      const coordinator = await Coordinator.open(deps, {
        ...options,
        prepared,
        model: await sha256Hex(model),
        opset,
        optimizer: optimizerOf(options.optimizer, totalSteps),
        optimizerName: optimizerName(options.optimizer, totalSteps),
      })
      const reporter = new RunReporter({ access, run, totalSteps, curve: coordinator, clock: systemClock })
      for await (const event of coordinator.train(signal)) {
        onEvent(event)
        await reporter.note(event)
        if (event.type === 'checkpointed' || event.type === 'ended') await writeCurve(folder, run, coordinator)
        if (event.type === 'ended' && event.reason !== 'interrupted') {
          await writeModel(options, model, prepared, coordinator)
        }
      }
    } finally {
      await term.resign()
    }
  } finally {
    stopListening()
    directory.close()
    await runs.close()
  }
}

/** Waits to lead the run. Once elected, being interrupted does not end the term: there is a checkpoint to write. */
async function stand(elections: ElectionStore, { run, signal, leaseMs, log, onEvent }: RunOptions): Promise<Term> {
  const waiting = new AbortController()
  const onAbort = () => waiting.abort(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  let told = false
  const store: Pick<ElectionStore, 'acquire' | 'renew' | 'resign'> = {
    async acquire(name, candidate, ttlMs) {
      const standing = await elections.acquire(name, candidate, ttlMs)
      if ('heldForMs' in standing && !told) onEvent({ type: 'waiting', heldForMs: standing.heldForMs })
      told = true
      return standing
    },
    renew: (name, candidate, epoch, ttlMs) => elections.renew(name, candidate, epoch, ttlMs),
    resign: (name, candidate, epoch) => elections.resign(name, candidate, epoch),
  }
  try {
    const timing = { clock: systemClock, random: Math.random, ttlMs: leaseMs }
    return await campaign({ ...timing, store, name: run, signal: waiting.signal, log })
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function prepare(options: RunOptions, model: Uint8Array): Promise<PreparedRun> {
  const put = putBlobTo(options.access)
  const dataset = await loadDataset(options.data, put)
  const rows = rowCount(dataset.files)
  const validationRows = options.validation < 1 ? Math.floor(rows * options.validation) : options.validation
  if (!Number.isSafeInteger(validationRows)) {
    throw invalid(`Cannot train: --validation must be a share below 1 or a number of rows, got ${options.validation}`)
  }
  const host = { wish: 'wasm', gpu: undefined, host: describeHost() } as const
  const engine = await openEngine({ ...host, loadOrt: (device) => loadOrtNode(device) })
  const runOnce: RunModel = async (bytes, inputs) => {
    await engine.load('trace', bytes)
    try {
      return (await engine.run('trace', { ...inputs })).outputs
    } finally {
      await engine.unload('trace')
    }
  }
  try {
    const settings = { ...options.settings, validationRows }
    const prepared = await prepareRun({ model, run: runOnce, axes: options.axes }, dataset, settings, put)
    const bytes = dataset.files.reduce((total, file) => total + file.bytes, 0)
    options.onEvent({ type: 'prepared', parameters: prepared.initial.length, rows, validationRows, bytes })
    return prepared
  } finally {
    await engine.close()
  }
}

async function writeCurve(folder: string, run: string, { losses, evaluations }: Coordinator): Promise<void> {
  await replaceFile(join(folder, 'loss.csv'), curveCsv(losses, evaluations))
  await replaceFile(join(folder, 'loss.svg'), curveSvg(losses, evaluations, `${run}: ${losses.length} steps`))
}

async function writeModel(
  { out, onEvent }: RunOptions,
  model: Uint8Array,
  { layout }: PreparedRun,
  { parameters, losses, evaluations }: Coordinator,
): Promise<void> {
  const trained = withParameters(model, layout, parameters)
  await replaceFile(out, trained)
  onEvent({
    type: 'written',
    file: out,
    bytes: trained.byteLength,
    sha256: await sha256Hex(trained),
    loss: losses.at(-1) ?? NaN,
    evaluation: evaluations.at(-1),
  })
}

/** Whole or not at all. */
async function replaceFile(path: string, content: string | Uint8Array): Promise<void> {
  const draft = `${path}.${newId('draft')}`
  await writeFile(draft, content)
  await rename(draft, path)
}
