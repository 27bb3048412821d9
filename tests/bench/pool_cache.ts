import { readSamplePicture } from '../../functions/demo/files.ts'
import { toTensor } from '../../functions/demo/picture.ts'
import type { Bytes } from '../../shared/base/bytes.ts'
import type { ModelOptions } from '../../shared/models/model_options.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { ask, inferenceAt } from '../conformance/gateway_http.ts'
import { startCli, temporaryFolder } from '../fixtures/process.ts'
import { closedLoop, type Series } from './figures.ts'

const ROUNDS = 5
const FOR_MS = 1_000
const CALLERS = 16
/** Questions that are asked again and again. */
const QUESTIONS = 16
const CACHE: ModelOptions = { cache: { ttlMs: 600_000, maxBytes: 16_000_000 } }

/** The demo models, by what goes in: 784 numbers and little to compute, and a picture of 64 × 64. */
const MODELS: Readonly<Record<string, () => Promise<Record<string, Tensor>[]>>> = {
  digits: async () =>
    Array.from({ length: QUESTIONS }, (_, i) => ({
      x: Tensor.from(
        'float32',
        [1, 1, 28, 28],
        Float32Array.from({ length: 784 }, (_, at) => (at * i) % 256 / 255),
      ),
    })),
  cartoon: async () => {
    const picture = toTensor([await readSamplePicture()])
    return Array.from({ length: QUESTIONS }, (_, i) => ({
      image: Tensor.from('float32', picture.shape, (picture.data as Float32Array).map((value) => value * (1 - i / 64))),
    }))
  },
}

/**
 * Calls a second through a gateway and a worker, each in a process or thread of its own, of a model whose answers may be
 * kept, over those of the same model when they may not.
 */
export async function measureCache(series: Series): Promise<void> {
  await using folder = await temporaryFolder()
  const gateway = startCli(['start', '--port', '0', '--data-dir', folder.path], { env: { HOME: folder.path } })
  try {
    const [, url = ''] = await gateway.wrote(/^shoal ready (http:\S+)$/m)
    const { infer } = inferenceAt(url)
    const sides: { name: string; side: 'cached' | 'uncached'; call(): Promise<unknown> }[] = []
    for (const [name, draw] of Object.entries(MODELS)) {
      await keepAnswers(url, name)
      const questions = await draw()
      let asked = 0
      const call = (version: string) => () =>
        infer({ model: name, version, inputs: questions[asked++ % QUESTIONS] ?? {} }, { timeoutMs: 60_000 })
      sides.push({ name, side: 'uncached', call: call('1') }, { name, side: 'cached', call: call('2') })
    }
    for (const { call } of sides) await closedLoop(call, CALLERS, FOR_MS)
    for (let round = 0; round < ROUNDS; round++) {
      const rates = new Map<string, number>()
      for (const { name, side, call } of sides) {
        const { perSecond, p50Us } = await closedLoop(call, CALLERS, FOR_MS)
        rates.set(`${name} ${side}`, perSecond)
        series.add(`${side}_${name}_calls_per_s`, '1/s', perSecond)
        series.add(`${side}_${name}_p50`, 'ms', p50Us / 1000)
      }
      for (const name of Object.keys(MODELS)) {
        const ratio = (rates.get(`${name} cached`) ?? NaN) / (rates.get(`${name} uncached`) ?? NaN)
        series.add(`cached_vs_uncached_${name}`, 'ratio', ratio)
      }
    }
  } finally {
    await gateway.stop()
  }
}

/** The same bytes again as version 2, whose answers are kept. */
async function keepAnswers(url: string, name: string): Promise<void> {
  const { json: { models } } = await ask(url, 'GET', '/models')
  const { sha256 } = models.find((model: { name: string }) => model.name === name)
  const body = new Uint8Array(await (await fetch(`${url}/blobs/${sha256}`)).arrayBuffer()) as Bytes
  for (const [method, options] of [['PUT', { body }], ['PATCH', { json: CACHE }]] as const) {
    const { status, text } = await ask(url, method, `/models/${name}/versions/2`, options)
    if (status !== 200) throw new Error(`Cannot measure the cache: ${method} must succeed, got ${status} ${text}`)
  }
}
