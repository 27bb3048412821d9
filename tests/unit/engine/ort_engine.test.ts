import { afterEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../shared/base/limits.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import { openEngine } from '../../../shared/engine/open_engine.ts'
import { createOrtEngine, type OrtEngine } from '../../../shared/engine/ort_engine.ts'
import { loadOrtNode } from '../../../shared/engine/ort_node.ts'
import type { OrtModule } from '../../../shared/engine/ort_runtime.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { oneNode } from '../../conformance/engine_models.ts'
import { identityModel } from '../../fixtures/models.ts'

const WASM = { device: 'wasm', adapter: 'test', fallbackAdapter: false, fp16: true, reason: 'Tested.' } as const
const x = Tensor.from('float32', [2], [1, 2])

const opened: Engine[] = []
afterEach(() => Promise.all(opened.splice(0).map((engine) => engine.close())))

async function open(build: 'jspi' | 'wasm', change: (ort: OrtModule) => OrtModule = (ort) => ort): Promise<OrtEngine> {
  const { ort } = await loadOrtNode('wasm', build)
  const engine = await createOrtEngine({ ort: change(ort), info: { ...WASM, build } })
  opened.push(engine)
  return engine
}

/** (module (func (export "trap") unreachable)) */
const TRAP = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 8, 1, 4],
  ...[0x74, 0x72, 0x61, 0x70, 0, 0, 0x0a, 5, 1, 3, 0, 0, 0x0b],
)

/** ONNX Runtime whose runs trap while `broken` says so: a real trap, in another WebAssembly module. */
function trapping(ort: OrtModule, broken: () => boolean): OrtModule {
  const trap = new WebAssembly.Instance(new WebAssembly.Module(TRAP)).exports.trap as () => void
  const create = async (model: Uint8Array, options: object) => {
    const session = await ort.InferenceSession.create(model, options)
    const run = session.run.bind(session)
    session.run = async (feeds: Parameters<typeof run>[0]) => {
      if (broken()) trap()
      return await run(feeds)
    }
    return session
  }
  return { env: ort.env, Tensor: ort.Tensor, InferenceSession: { create: create as never } }
}

describe('an engine whose runtime crashes', () => {
  it('says so, and never again pretends to work', async () => {
    let broken = false
    const engine = await open('jspi', (ort) => trapping(ort, () => broken))
    await engine.load('model', identityModel('float32', ['N']))
    broken = true
    const [crashed, waiting] = await Promise.allSettled([engine.run('model', { x }), engine.run('model', { x })])
    expect(crashed).toMatchObject({ reason: { code: 'unavailable', neverSent: false } })
    expect(waiting).toMatchObject({ reason: { code: 'unavailable', neverSent: true } })
    expect(await engine.lost).toMatch(/^the runtime crashed: unreachable/)
    broken = false
    await expect(engine.run('model', { x })).rejects.toMatchObject({ code: 'unavailable', neverSent: true })
    await expect(engine.load('other', identityModel('float32', [1]))).rejects.toMatchObject({ code: 'unavailable' })
    await engine.unload('model')
  })

  it('does not blame a model that it was loading', async () => {
    const engine = await open('jspi', (ort) => trapping(ort, () => true))
    await expect(engine.load('model', identityModel('float32', [2]))).rejects.toMatchObject({ code: 'unavailable' })
  })
})

describe('failed runs that ONNX Runtime does not clean up after', () => {
  const reshape = oneNode('Reshape', [['x', 'float32', ['N']], ['to', 'int64', [1]]], ['float32', ['']])
  const fail = (engine: Engine) => engine.run('model', { x, to: Tensor.from('int64', [1], [5]) })

  it('end an engine on the plain build before they fill its memory', async () => {
    const engine = await open('wasm')
    await engine.load('model', reshape)
    for (let i = 0; i < LIMITS.maxRunsNotUnwound; i++) {
      await expect(fail(engine)).rejects.toMatchObject({ code: 'internal' })
    }
    expect(await engine.lost).toMatch(/kept their memory/)
    await expect(fail(engine)).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('are no matter on jspi', async () => {
    const engine = await open('jspi')
    await engine.load('model', reshape)
    for (let i = 0; i < 2 * LIMITS.maxRunsNotUnwound; i++) {
      await expect(fail(engine)).rejects.toMatchObject({ code: 'internal' })
    }
    const { outputs } = await engine.run('model', { x, to: Tensor.from('int64', [1], [2]) })
    expect(outputs.y?.data).toEqual(x.data)
  })
})

describe('opening an engine', () => {
  const gpu = {
    requestAdapter: () =>
      Promise.resolve({ info: { vendor: 'acme', architecture: '', device: '', description: '' }, features: new Set() }),
  }
  // Node has no navigator.gpu, so a session on WebGPU cannot be made: a device that is promised and does not start.
  const options = { gpu, host: 'test', loadOrt: () => loadOrtNode('webgpu') }

  it('gives way to WASM when the GPU does not start', async () => {
    const engine = await openEngine({ ...options, wish: 'auto' })
    opened.push(engine)
    expect(engine.info).toMatchObject({
      device: 'wasm',
      reason: 'WASM, because WebGPU could not be started on acme.',
    })
    await engine.load('model', identityModel('float32', ['N']))
    expect((await engine.run('model', { x })).outputs.y?.data).toEqual(x.data)
  })

  it('does not give way when WebGPU was asked for', async () => {
    await expect(openEngine({ ...options, wish: 'webgpu' })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/^Cannot start ONNX Runtime on webgpu: /),
    })
  })
})

describe('a device that begins to compute wrong', () => {
  /** Node's WebAssembly passes for WebGPU, and answers zeros once `broken` says so. */
  const forgetful = (ort: OrtModule, broken: () => boolean): OrtModule => {
    const create = async (model: Uint8Array, options: { executionProviders?: unknown[] }) => {
      const isDevice = options.executionProviders?.[0] === 'webgpu'
      const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'] })
      const run = session.run.bind(session)
      session.run = async (feeds: Parameters<typeof run>[0]) => {
        const results = await run(feeds)
        if (isDevice && broken()) { for (const { data } of Object.values(results)) (data as Float32Array).fill(0) }
        return results
      }
      return session
    }
    const lost = new Promise<never>(() => {})
    const env = { ...ort.env, webgpu: { device: Promise.resolve({ limits: { maxBufferSize: 2 ** 28 }, lost }) } }
    return { env: env as never, Tensor: ort.Tensor, InferenceSession: { create: create as never } }
  }
  const openForgetful = async (broken: () => boolean) => {
    const { ort } = await loadOrtNode('webgpu', 'jspi')
    const info = { ...WASM, device: 'webgpu', build: 'jspi' } as const
    let nowMs = 0
    const clock = { now: () => nowMs += 20_000, after: () => () => {} }
    const engine = await createOrtEngine({ ort: forgetful(ort, broken), info, clock })
    opened.push(engine)
    return engine
  }

  it('is asked again what it answered rightly before, and is given up', async () => {
    let broken = false
    const engine = await openForgetful(() => broken)
    expect(await engine.load('model', identityModel('float32', ['N']))).toEqual({ placement: 'full' })
    await engine.run('model', { x })
    broken = true
    await expect(engine.run('model', { x })).rejects.toMatchObject({ code: 'unavailable' })
    expect(await engine.lost).toMatch(/^test computes wrong: output "y" must be /)
  })

  it('is not suspected for zeros that are right', async () => {
    const engine = await openForgetful(() => false)
    await engine.load('model', identityModel('float32', ['N']))
    const zeros = Tensor.from('float32', [2], [0, 0])
    expect((await engine.run('model', { x: zeros })).outputs.y?.data).toEqual(zeros.data)
  })

  it('is refused a model that it gets wrong from the start', async () => {
    const engine = await openForgetful(() => true)
    expect(await engine.load('model', identityModel('float32', ['N']))).toMatchObject({ placement: 'refused' })
    expect((await engine.run('model', { x })).outputs.y?.data).toEqual(x.data)
  })
})
