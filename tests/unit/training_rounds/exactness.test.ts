import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import type { Interceptor } from '../../../shared/rpc/send.ts'
import { shardRowsOf } from '../../../shared/training/data_order.ts'
import { adam, applyUpdates, meanGradient, type Optimizer, sgd } from '../../../shared/training/optimizers.ts'
import { buildStepGraph, readStep } from '../../../shared/training/step_graph.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { decodePayload, encodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { LocalPool, runnerOn, wasmEngine } from './local_pool.ts'
import { clouds, MODEL, prepareTask, ROWS, type Task, temporaryRuns, trainOn, type TrainOptions } from './train.ts'

const STEPS = 200
/** In a step of `train.ts`. */
const SHARDS = 8
const OPTIMIZERS = ['momentum', 'adam'] as const

let engine: Engine
let task: Task
beforeAll(async () => {
  engine = await wasmEngine()
  task = await prepareTask(engine)
})
afterAll(() => engine.close())

/** Trains on a pool and gives the parameters. */
async function train(
  optimizer: string,
  pool: LocalPool,
  options: Partial<TrainOptions> = {},
): Promise<{ parameters: Float32Array; pool: LocalPool }> {
  await using runs = await temporaryRuns()
  const { prepared } = task
  const coordinator = await trainOn({
    prepared,
    optimizer: optimizerOf(optimizer),
    pool,
    runs,
    steps: STEPS,
    ...options,
  })
  expect(coordinator.step).toBe(options.steps ?? STEPS)
  return { parameters: coordinator.parameters, pool }
}

function optimizerOf(name: string): Optimizer {
  return name === 'adam' ? adam({ learningRate: 0.01 }) : sgd({ learningRate: 0.1, momentum: 0.9 })
}

function poolOf(workers: number, interceptors: readonly Interceptor[] = []): LocalPool {
  const pool = new LocalPool()
  for (let i = 0; i < workers; i++) pool.addWorker(engine, task.blobs, interceptors)
  return pool
}

/** One worker's parameters after all steps: what every other way must give. */
const expected = new Map<string, Promise<Float32Array>>()
function alone(optimizer: string): Promise<Float32Array> {
  let result = expected.get(optimizer)
  if (!result) expected.set(optimizer, result = train(optimizer, poolOf(1)).then(({ parameters }) => parameters))
  return result
}

describe.each(OPTIMIZERS)(`${STEPS} steps of %s`, (optimizer) => {
  it('have the same bits on 1, 3 and 8 workers', { timeout: 180_000 }, async () => {
    for (const workers of [3, 8]) {
      const { parameters } = await train(optimizer, poolOf(workers))
      expect(parameters, `${workers} workers`).toEqual(await alone(optimizer))
    }
  })

  it('have the same bits behind relays that add', { timeout: 180_000 }, async () => {
    const hub = new LocalPool()
    for (const workers of [3, 1, 2]) hub.addRelay(poolOf(workers))
    expect((await train(optimizer, hub)).parameters).toEqual(await alone(optimizer))
  })

  it('are within 1e-6 of a plain loop over batches of 64, without shards', { timeout: 180_000 }, async () => {
    const looped = await plainLoop(optimizerOf(optimizer))
    const sharded = await alone(optimizer)
    let [difference, size] = [0, 0]
    for (const [i, value] of looped.entries()) {
      difference = Math.max(difference, Math.abs(value - (sharded[i] ?? NaN)))
      size = Math.max(size, Math.abs(value))
    }
    expect(size).toBeGreaterThan(0.5)
    console.log(`${optimizer}: largest difference ${difference.toExponential(2)} of ${size.toFixed(2)}`)
    expect(difference).toBeLessThan(1e-6)
  })

  it('have the same bits while workers die and come at random', { timeout: 180_000 }, async () => {
    const random = seededRandom(optimizer.length)
    const pool = poolOf(3)
    let deaths = 0
    const { parameters } = await train(optimizer, pool, {
      onEvent({ type }) {
        if (type !== 'step' || random() > 0.3) return
        const ids = pool.list().map(({ id }) => id)
        const victim = ids[Math.floor(random() * ids.length)]
        // In the middle of the step that begins now.
        setTimeout(() => {
          if (victim !== undefined && random() < 0.7) {
            deaths++
            pool.kill(victim)
          }
          if (pool.size < 2 || random() < 0.3) pool.addWorker(engine, task.blobs)
        }, random() * 5)
      },
    })
    expect(deaths).toBeGreaterThan(20)
    expect(parameters).toEqual(await alone(optimizer))
  })
})

describe('answers', () => {
  it(
    'that are spoilt, cut, late, or of another step are refused and computed again',
    { timeout: 180_000 },
    async () => {
      const random = seededRandom(3)
      let last: unknown
      const misbehave: Interceptor = (next) => async (request) => {
        const response = await next(request)
        if (response.kind !== 'unary') return response
        const value = decodePayload(response.payload) as Answer
        const fault = random()
        let answer = value
        if (fault < 0.04) answer = { ...value, sum: { sum: spoil(value.sum.sum) } }
        else if (fault < 0.08) answer = { ...value, sum: { sum: Tensor.from('float32', [3], [1, 2, 3]) } }
        else if (fault < 0.12) answer = { ...value, fence: { ...value.fence, step: value.fence.step - 1 } }
        else if (fault < 0.16) answer = { ...value, attempt: value.attempt + 1 }
        // An answer from before, sent again in place of this one.
        else if (fault < 0.2 && last) answer = last as Answer
        else if (fault < 0.22) throw new RpcError('unavailable', 'Cannot answer: lost')
        last = value
        return { ...response, payload: encodePayload(answer, 'tensors') }
      }
      const steps = 40
      const pool = poolOf(4, [misbehave])
      const { parameters } = await train('momentum', pool, { steps })
      expect(parameters).toEqual((await train('momentum', poolOf(1), { steps })).parameters)
      for (const reason of ['not_finite', 'shape', 'stale', 'foreign']) {
        expect(pool.metrics.valueOf('shoal_training_refused_total', { reason }), reason).toBeGreaterThan(0)
      }
    },
  )

  // As when a relay got a call twice, and the attempts of both are counted alike.
  it('of other shards with the same fence and attempt are refused', { timeout: 180_000 }, async () => {
    const random = seededRandom(5)
    const misdeliver: Interceptor = (next) => async (request) => {
      if (random() > 0.15) return await next(request)
      const lease = decodePayload(request.payload) as { from: number; to: number }
      const size = lease.to - lease.from
      const from = (lease.from + size) % SHARDS
      return await next({ ...request, payload: encodePayload({ ...lease, from, to: from + size }, 'tensors') })
    }
    const steps = 20
    const pool = poolOf(3, [misdeliver])
    const { parameters } = await train('momentum', pool, { steps })
    expect(parameters).toEqual((await train('momentum', poolOf(1), { steps })).parameters)
    expect(pool.metrics.valueOf('shoal_training_refused_total', { reason: 'foreign' })).toBeGreaterThan(5)
  })

  it('that are never finite end the run, naming the shards and the remedy', async () => {
    const spoilAll: Interceptor = (next) => async (request) => {
      const response = await next(request)
      if (response.kind !== 'unary') return response
      const value = decodePayload(response.payload) as Answer
      return { ...response, payload: encodePayload({ ...value, sum: { sum: spoil(value.sum.sum) } }, 'tensors') }
    }
    await expect(train('adam', poolOf(2, [spoilAll]))).rejects.toThrow(
      /3 attempts at shards \d to \d failed: its gradient is not finite \(lower the learning/,
    )
  })
})

describe('a worker that lies', () => {
  /** Changes the gradients that a worker answers with, not their loss and weight. */
  const lying = (change: (value: number) => number): Interceptor => (next) => async (request) => {
    const response = await next(request)
    if (response.kind !== 'unary') return response
    const value = decodePayload(response.payload) as Answer
    const { data, shape } = value.sum.sum
    const changed = data.map((one, i) => i < data.length - 2 ? change(one) : one)
    const answer = { ...value, sum: { sum: Tensor.from('float32', shape, changed) } }
    return { ...response, payload: encodePayload(answer, 'tensors') }
  }

  it.each([
    ['by the sign', (value: number) => -value],
    ['by a hundredth', (value: number) => value * 1.01],
    ['by the largest numbers there are', (value: number) => Math.sign(value) * 3e38],
  ])('%s is found out by two others, and the weights are as if it had not been there', async (
    _,
    change,
  ) => {
    const workers = poolOf(2)
    workers.addWorker(engine, task.blobs, [lying(change)])
    const hub = new LocalPool()
    hub.addRelay(workers)
    const steps = 20
    const { parameters } = await train('momentum', hub, { steps })
    expect(parameters).toEqual((await train('momentum', poolOf(1), { steps })).parameters)
    expect(workers.metrics.valueOf('shoal_training_distrusted_total')).toBeGreaterThan(0)
    expect(workers.metrics.valueOf('shoal_training_refused_total', { reason: 'disagrees' })).toBeGreaterThan(0)
    // Whoever is honest was checked as well, and stays.
    expect(workers.metrics.valueOf('shoal_training_audits_total')).toBeGreaterThan(1)
  })

  it('in the middle of a run, by gradients beyond all proportion, changes nothing', async () => {
    const random = seededRandom(9)
    const workers = poolOf(2)
    let calls = 0
    const late: Interceptor = (next) => (request) =>
      calls++ < 30 ? next(request) : lying((value) => value * (1e5 + random()))(next)(request)
    workers.addWorker(engine, task.blobs, [late])
    const hub = new LocalPool()
    hub.addRelay(workers)
    const steps = 40
    const { parameters } = await train('momentum', hub, { steps })
    expect(parameters).toEqual((await train('momentum', poolOf(1), { steps })).parameters)
    expect(workers.metrics.valueOf('shoal_training_distrusted_total')).toBeGreaterThan(0)
  })
})

describe('gradients that are rounded on the wire', () => {
  it.each(['fp16', 'int8'] as const)('as %s train nearly the same weights', async (format) => {
    const steps = 60
    const { prepared } = await prepareTask(engine, { format })
    const rounded = await train('momentum', poolOf(2), { prepared, steps })
    const exact = await train('momentum', poolOf(2), { steps })
    let [difference, size] = [0, 0]
    for (const [i, value] of exact.parameters.entries()) {
      difference = Math.max(difference, Math.abs(value - (rounded.parameters[i] ?? NaN)))
      size = Math.max(size, Math.abs(value))
    }
    expect(difference).toBeGreaterThan(0)
    // Rounding to 11 bits, or to 255 levels whose errors are made good a step later.
    expect(difference / size).toBeLessThan(format === 'fp16' ? 1e-3 : 3e-2)
  })
})

describe('a relay', () => {
  it(
    'sends and takes as many bytes per step, whatever the number of workers behind it',
    async () => {
      const bytes: number[][] = []
      for (const workers of [1, 4, 16]) {
        const hub = new LocalPool()
        const behind = poolOf(workers)
        hub.addRelay(behind)
        const seen: number[][] = []
        await train('adam', hub, {
          steps: 3,
          onEvent: (event) => void (event.type === 'step' && seen.push([event.sentBytes, event.receivedBytes])),
        })
        bytes.push(...seen)
        const hosts = behind.metrics.valueOf('shoal_training_received_bytes_total') / 3
        console.log(
          `${workers} workers: ${seen[2]} bytes out of and into the coordinator, ${hosts} into the relay per step`,
        )
      }
      const parameters = task.prepared.initial.byteLength
      expect(new Set(bytes.map(String))).toEqual(new Set([`${parameters},${parameters + 8}`]))
    },
  )
})

interface Answer {
  fence: { step: number }
  attempt: number
  from: number
  sum: { sum: Tensor<'float32'> }
}

function spoil(sum: Tensor<'float32'>): Tensor<'float32'> {
  const values = sum.data.slice()
  values[5] = NaN
  return Tensor.from('float32', sum.shape, values)
}

/** The same rows in the same order through one graph of 64: no shards, no wire, no coordinator. */
async function plainLoop(optimizer: Optimizer): Promise<Float32Array> {
  const graph = await buildStepGraph({ model: MODEL, loss: 'crossEntropyOfLabels', batch: 64, run: runnerOn(engine) })
  await engine.load('plain loop', graph.bytes)
  const { x, labels } = clouds()
  const [points, classes] = [x.data as Float32Array, labels.data as Int32Array]
  const order = { rows: ROWS, shardRows: 64, shards: 1, seed: 5, shuffled: true }
  let parameters = graph.initial
  let state = optimizer.init(parameters.length)
  for (let step = 0; step < STEPS; step++) {
    const { rows, weights } = shardRowsOf(order, step, 0)
    const batch = Float32Array.from(
      { length: 64 * 12 },
      (_, i) => points[(rows[Math.floor(i / 12)] ?? 0) * 12 + i % 12] ?? 0,
    )
    const { outputs } = await engine.run('plain loop', {
      'shoal.parameters': Tensor.from('float32', [parameters.length], parameters),
      'shoal.target': Tensor.from('int32', [64], rows.map((row) => classes[row] ?? 0)),
      'shoal.weights': Tensor.from('float32', [64], weights),
      x: Tensor.from('float32', [64, 12], batch),
    })
    const { gradient, n } = readStep(graph, outputs[graph.output.name] as Tensor)
    const taken = optimizer.update(meanGradient(gradient, n), state, parameters)
    parameters = applyUpdates(parameters, taken.updates)
    state = taken.state
  }
  await engine.unload('plain loop')
  return parameters
}
