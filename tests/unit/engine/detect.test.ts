import { describe, expect, it } from 'vitest'
import { type AdapterFacts, chooseDevice, detectDevice, isDeviceWish } from '../../../shared/engine/detect.ts'

const HOST = 'test host'
const HARDWARE: AdapterFacts = {
  info: { vendor: 'nvidia', architecture: 'hopper', device: '', description: '', isFallbackAdapter: false },
  features: new Set(['shader-f16']),
}
const adapter = (info: Partial<AdapterFacts['info']>, more: Partial<AdapterFacts> = {}): AdapterFacts => ({
  ...HARDWARE,
  info: { ...HARDWARE.info, ...info },
  ...more,
})

describe('the choice of a device', () => {
  it('takes a hardware adapter', () => {
    expect(chooseDevice('auto', HARDWARE, HOST)).toEqual({
      device: 'webgpu',
      adapter: 'nvidia hopper',
      fallbackAdapter: false,
      fp16: true,
      reason: 'WebGPU, because there is a hardware adapter (nvidia hopper).',
    })
  })

  it.each([
    ['flagged in its info', adapter({ isFallbackAdapter: true })],
    ['flagged as older browsers do', adapter({ isFallbackAdapter: undefined }, { isFallbackAdapter: true })],
    ['named SwiftShader', adapter({ vendor: 'google', architecture: 'swiftshader' })],
    ['named llvmpipe', adapter({ description: 'llvmpipe (LLVM 15.0.6, 256 bits)' })],
    ['named after Windows’s renderer', adapter({ description: 'Microsoft Basic Render Driver' })],
  ])('prefers WASM to a software adapter, %s', (_, software) => {
    const choice = chooseDevice('auto', software, HOST)
    expect(choice).toMatchObject({ device: 'wasm', adapter: HOST, fallbackAdapter: false })
    expect(choice.reason).toMatch(/^WASM, because the only adapter \(.+\) renders in software/)
    expect(chooseDevice('webgpu', software, HOST)).toMatchObject({ device: 'webgpu', fallbackAdapter: true })
  })

  it('goes without a GPU, saying whose fault it is', () => {
    expect(chooseDevice('auto', null, HOST)).toMatchObject({ device: 'wasm', reason: expect.stringMatching(/adapter/) })
    expect(chooseDevice('auto', undefined, HOST).reason).toMatch(/this host has no WebGPU/)
  })

  it('refuses to pretend when WebGPU was asked for', () => {
    const refusal = { code: 'failed_precondition', message: expect.stringMatching(/needs a GPU adapter/) }
    expect(() => chooseDevice('webgpu', null, HOST)).toThrow(expect.objectContaining(refusal))
    expect(() => chooseDevice('webgpu', undefined, HOST)).toThrow(expect.objectContaining(refusal))
  })

  it('takes WASM when asked, whatever else there is', () => {
    expect(chooseDevice('wasm', HARDWARE, HOST)).toMatchObject({ device: 'wasm', reason: 'WASM was asked for.' })
  })

  it('knows that fp16 needs a feature', () => {
    expect(chooseDevice('auto', adapter({}, { features: new Set() }), HOST).fp16).toBe(false)
  })

  it('names an adapter by its words alone', () => {
    const deno = adapter({ vendor: '65541', architecture: '', device: '0', description: 'Radeon' })
    expect(chooseDevice('auto', deno, HOST).adapter).toBe('Radeon')
    expect(chooseDevice('auto', adapter({ vendor: '', architecture: '' }), HOST).adapter).toBe('unnamed adapter')
    expect(chooseDevice('auto', adapter({ vendor: 'apple', description: 'apple' }), HOST).adapter).toBe('apple hopper')
  })

  it('reads a rejected request as no adapter', async () => {
    const broken = { requestAdapter: () => Promise.reject(new Error('GPU process crashed')) }
    expect((await detectDevice('auto', broken, HOST)).device).toBe('wasm')
  })

  it('does not wake the GPU for WASM', async () => {
    const untouched = { requestAdapter: () => Promise.reject(new Error('must not be called')) }
    expect((await detectDevice('wasm', untouched, HOST)).device).toBe('wasm')
  })

  it('knows its own names', () => {
    expect(['auto', 'webgpu', 'wasm'].every(isDeviceWish)).toBe(true)
    expect(['', 'cpu', 'WebGPU', undefined, null].some(isDeviceWish)).toBe(false)
  })
})
