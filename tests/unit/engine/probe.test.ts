import { afterEach, expect, it } from 'vitest'
import { makeProbe } from '../../../infra/make_probe_model.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import { openEngine } from '../../../shared/engine/open_engine.ts'
import { loadOrtNode } from '../../../shared/engine/ort_node.ts'
import type { OrtModule } from '../../../shared/engine/ort_runtime.ts'
import { PROBE_MODEL } from '../../../shared/engine/probe.ts'

const opened: Engine[] = []
afterEach(() => Promise.all(opened.splice(0).map((engine) => engine.close())))

/** A GPU whose every hundredth number is off by a little: Node's WebAssembly in its place. */
function wrong(ort: OrtModule): OrtModule {
  const create = async (model: Uint8Array) => {
    const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'] })
    const run = session.run.bind(session)
    session.run = async (feeds: Parameters<typeof run>[0]) => {
      const results = await run(feeds)
      for (const { data } of Object.values(results)) {
        const numbers = data as Float32Array
        for (let i = 20; i < numbers.length; i += 100) numbers[i] = (numbers[i] ?? 0) + 1
      }
      return results
    }
    return session
  }
  const env = {
    ...ort.env,
    webgpu: { device: Promise.resolve({ limits: { maxBufferSize: 2 ** 28 }, lost: new Promise<never>(() => {}) }) },
  }
  return { env: env as never, Tensor: ort.Tensor, InferenceSession: { create: create as never } }
}

const options = {
  probes: true,
  gpu: {
    requestAdapter: () =>
      Promise.resolve({ info: { vendor: 'acme', architecture: '', device: '', description: '' }, features: new Set() }),
  },
  host: 'test',
  async loadOrt(device: string) {
    const { ort, build } = await loadOrtNode('wasm', 'jspi')
    return { ort: device === 'webgpu' ? wrong(ort) : ort, build }
  },
}

it('the model is what its script makes', () => {
  expect(PROBE_MODEL).toEqual(makeProbe())
})

it('a device that computes right tells how fast it is', async () => {
  const engine = await openEngine({ ...options, wish: 'wasm' })
  opened.push(engine)
  expect(engine.info.gflops).toBeGreaterThan(0)
})

it('a GPU that computes wrong is refused, and gives way to WASM where it may', async () => {
  await expect(openEngine({ ...options, wish: 'webgpu' })).rejects.toMatchObject({
    code: 'failed_precondition',
    message: expect.stringMatching(/^Cannot use acme: it computes wrong, output "product" must be /),
  })
  const engine = await openEngine({ ...options, wish: 'auto' })
  opened.push(engine)
  expect(engine.info).toMatchObject({ device: 'wasm', reason: 'WASM, because acme computes wrong.' })
})
