import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import process from 'node:process'
import { readFile } from 'node:fs/promises'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { jsonLog, silentLog } from '../../shared/base/log.ts'
import type { WireFormat } from '../../shared/contracts/training.ts'
import type { LossName } from '../../shared/training/losses.ts'
import { invalid } from '../../shared/wire/errors.ts'
import type { ModelManifest } from '../../shared/wire/signature.ts'
import { trainingDisplay } from '../trainer/display.ts'
import { optimizerOf } from '../trainer/optimizer.ts'
import { checkFiles, trainOnGateway } from '../trainer/run.ts'
import { openOwnGateway, openTabs, startWorkers } from '../trainer/trainer_gateway.ts'
import { type Command, GATEWAY_OPTIONS, gatewayAccess, gatewayHelp, parse, wholeNumber } from './command.ts'
import { request } from './request.ts'

const LOSSES: Readonly<Record<string, LossName>> = {
  'cross-entropy': 'crossEntropyOfLabels',
  'cross-entropy-one-hot': 'crossEntropy',
  bce: 'binaryCrossEntropy',
  mse: 'meanSquaredError',
}
const FORMATS: readonly WireFormat[] = ['fp32', 'fp16', 'int8']

const HELP =
  `Trains an ONNX model on a gateway's workers: the same weights as one machine would give, whoever takes part.

Usage: shoal train --model M.onnx --data D --out trained.onnx [options]

  --model FILE       a forward model, its last output the logits (make one: shoal models new)
  --data D           dataset.json, *.safetensors, a folder of these or of IDX files, or images.gz,labels.gz
  --out FILE         the trained model; checkpoints and the loss curve go to FILE.run/
  --loss L           ${Object.keys(LOSSES).join(', ')} (default cross-entropy)
  --optimizer O      sgd, momentum, nesterov, adam, adamw (default adam)
  --lr X             learning rate (default 1e-3)
  --momentum X       (default 0.9)    --weight-decay X  (default 0)    --clip X  largest norm of the gradient
  --schedule S       constant or cosine (default constant)    --warmup N  steps of linear warm-up
  --batch N          rows per step (default 64)
  --shards S         parts of a step, computed one by one (default 8): as many workers can help
  --epochs N         passes over the data (default 1)
  --validation V     rows at the end of the data to validate on: a number, or a share below 1 (default 0.1)
  --patience N       stops after N validations without a better loss
  --axes a=1,b=2     sizes of free axes other than the batch
  --seed S           of the order of rows and of dropout (default 0)
  --wire F           fp32 (exact, default), fp16 or int8: gradients on the wire
  --workers N        workers of this machine (default 1 without --gateway, else 0)
  --tabs N           tabs of a headless Chromium on this machine (default 0)
  --resume           goes on from the checkpoint; waits while another coordinator leads the run
  --run NAME         the run's name (default: that of --out). With --gateway and REDIS_URL, or UPSTASH_REDIS_REST_URL and
                     _TOKEN, coordinators on several machines share runs by name: if one dies, another goes on
  --checkpoint N     steps between checkpoints (default ${DEFAULTS.checkpointSteps})
  --lease-ms N       how long a coordinator that died keeps its run (default ${DEFAULTS.coordinatorLeaseMs})
  --push NAME        pushes the trained model to the gateway, as the next version
  --json             one JSON object per line: every step, validation, checkpoint
  --port N           port of the run's own gateway, where --gateway names none (default: a free one)
${gatewayHelp(21, ', or one of its own')}
`

export const train: Command = {
  summary: 'trains a model on the pool',
  help: HELP,
  async run(args) {
    const { values } = parse(args, {
      ...GATEWAY_OPTIONS,
      model: { type: 'string' },
      data: { type: 'string' },
      out: { type: 'string' },
      loss: { type: 'string', default: 'cross-entropy' },
      optimizer: { type: 'string', default: 'adam' },
      lr: { type: 'string', default: '1e-3' },
      momentum: { type: 'string', default: '0.9' },
      'weight-decay': { type: 'string', default: '0' },
      clip: { type: 'string' },
      schedule: { type: 'string', default: 'constant' },
      warmup: { type: 'string', default: '0' },
      batch: { type: 'string', default: '64' },
      shards: { type: 'string', default: '8' },
      epochs: { type: 'string', default: '1' },
      validation: { type: 'string', default: '0.1' },
      patience: { type: 'string' },
      axes: { type: 'string' },
      seed: { type: 'string', default: '0' },
      wire: { type: 'string', default: 'fp32' },
      workers: { type: 'string' },
      tabs: { type: 'string', default: '0' },
      resume: { type: 'boolean', default: false },
      run: { type: 'string' },
      checkpoint: { type: 'string', default: String(DEFAULTS.checkpointSteps) },
      'lease-ms': { type: 'string', default: String(DEFAULTS.coordinatorLeaseMs) },
      push: { type: 'string' },
      json: { type: 'boolean', default: false },
      port: { type: 'string', default: '0' },
      verbose: { type: 'boolean', default: false },
    })
    const { model, data, out } = values
    if (!model || !data || !out) {
      const given = ['model', 'data', 'out'].filter((name) => values[name as 'model']).map((name) => `--${name}`)
      throw invalid(`Cannot train: --model, --data and --out are required, got ${given.join(' and ') || 'none'}`)
    }
    const loss = LOSSES[values.loss]
    if (!loss) {
      throw invalid(`Cannot train: --loss must be one of ${Object.keys(LOSSES).join(', ')}, got "${values.loss}"`)
    }
    const format = FORMATS.find((one) => one === values.wire)
    if (!format) throw invalid(`Cannot train: --wire must be one of ${FORMATS.join(', ')}, got "${values.wire}"`)
    const whole = (name: keyof typeof values, minimum: number, maximum = 1e9) =>
      wholeNumber(name, String(values[name]), minimum, maximum)
    const number = (name: keyof typeof values, minimum = 0) => numberOf(name, String(values[name]), minimum)

    const folder = `${out}.run`
    const run = values.run ?? basename(out).replace(/\.onnx$/, '')
    if (!/^[\w.-]+$/.test(run)) {
      throw invalid(`Cannot train: --run must be of letters, digits, ".", "_", "-", got "${run}"`)
    }
    const log = values.verbose ? jsonLog('info') : silentLog
    const display = trainingDisplay(values.json)
    const optimizer = {
      name: values.optimizer,
      learningRate: number('lr'),
      momentum: number('momentum'),
      weightDecay: number('weight-decay'),
      clip: values.clip === undefined ? undefined : number('clip'),
      schedule: values.schedule,
      warmup: whole('warmup', 0),
    }
    const options = {
      optimizer,
      model,
      data,
      out,
      folder,
      run,
      settings: {
        loss,
        batch: whole('batch', 1),
        shards: whole('shards', 1, LIMITS.maxShards),
        seed: whole('seed', 0),
        format,
      },
      validation: number('validation'),
      axes: values.axes === undefined ? undefined : axesOf(values.axes),
      epochs: whole('epochs', 1),
      checkpointSteps: whole('checkpoint', 1),
      patience: values.patience === undefined ? undefined : whole('patience', 1),
      resume: values.resume,
      leaseMs: whole('lease-ms', 100, 3_600_000),
      log,
    }
    // Before anything is started: a mistake in an option is told at once.
    optimizerOf(optimizer, 1)
    await checkFiles(options)
    const named = values.gateway ?? process.env.SHOAL_GATEWAY
    const own = named === undefined ? await openOwnGateway(folder, whole('port', 0, 65535), log) : undefined
    const access = own?.access ?? gatewayAccess(values, process.env)
    const count = values.workers === undefined ? (own ? 1 : 0) : wholeNumber('workers', values.workers, 0, 64)
    const cache = own ? join(folder, 'cache') : join(homedir(), '.cache/shoal/models')
    const stop = interruption()
    display.gateway(access.url, own !== undefined)
    const stops: (() => Promise<void>)[] = []
    try {
      stops.push(await startWorkers(count, access, cache, log, own?.local))
      stops.push(await openTabs(whole('tabs', 0, 64), access, 'auto', log))
      await trainOnGateway({
        ...options,
        access,
        local: own?.local,
        signal: stop,
        onEvent: (event) => display.show(event),
      })
      if (values.push !== undefined && !stop.aborted) display.pushed(await push(access, out, values.push))
    } finally {
      display.end()
      await Promise.all(stops.map((stopping) => stopping()))
      await own?.close()
    }
  },
}

/** Aborts on the first Ctrl-C or SIGTERM, so that a checkpoint is written; a second one ends the process at once. */
function interruption(): AbortSignal {
  const stop = new AbortController()
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(130)
    stop.abort()
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return stop.signal
}

/** The model under the first whole number that is free. */
async function push(access: ReturnType<typeof gatewayAccess>, file: string, name: string): Promise<ModelManifest> {
  const { models } = await request<{ models: ModelManifest[] }>(access, 'GET', '/models')
  const newest = models.filter((model) => model.name === name).map(({ version }) => parseInt(version, 10))
  const path = `/models/${encodeURIComponent(name)}/versions/${Math.max(0, ...newest) + 1}`
  return await request<ModelManifest>(access, 'PUT', path, { body: await readFile(file) })
}

function numberOf(name: string, text: string, minimum: number): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value) && value >= minimum) return value
  throw invalid(`Cannot read --${name}: a number from ${minimum} up is required, got "${text}"`)
}

function axesOf(text: string): Record<string, number> {
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const [name = '', size = ''] = pair.split('=')
      return [name, wholeNumber('axes', size, 1, 1e9)]
    }),
  )
}
