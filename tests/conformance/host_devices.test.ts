import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findPackage } from '../../functions/worker/optional_packages.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { affine, affineModel } from '../fixtures/models.ts'
import { ROOT, startCli, temporaryFolder } from '../fixtures/process.ts'
import { softwareVulkan } from '../fixtures/software_vulkan.ts'
import { eventually } from './expectations.ts'
import { ask, inferenceAt } from './gateway_http.ts'
import type { GatewayUnderTest } from './gateway_suite.ts'
import { startInProcess } from './start_node_gateway.ts'

const PACKAGES = `${ROOT}/tests/optional`
const isInstalled = findPackage('webgpu', PACKAGES) !== undefined &&
  findPackage('onnxruntime-node', PACKAGES) !== undefined
const WEIGHTS = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }

interface Listed {
  id: string
  name: string
  device: string
  build: string
  reason: string
}

let gateway: GatewayUnderTest
let folder: Awaited<ReturnType<typeof temporaryFolder>>
beforeAll(async () => {
  folder = await temporaryFolder()
  gateway = await startInProcess([])
  await ask(gateway.url, 'PUT', '/models/affine/versions/1', { body: affineModel(WEIGHTS) })
})
afterAll(async () => {
  await gateway.close()
  await folder[Symbol.asyncDispose]()
})

const listed = async (): Promise<Listed[]> => (await ask(gateway.url, 'GET', '/workers')).json.workers

const lend = (args: string[], env: Record<string, string>) =>
  startCli(['worker', '--http', '--name', 'host', '--gateway', gateway.url, ...args], {
    env: { HOME: folder.path, ...env },
  })

/** Calls until every worker that is listed has answered, and compares each answer with arithmetic. */
async function callAll(): Promise<void> {
  const expected = new Set((await listed()).map(({ id }) => id))
  await eventually(async () => {
    await Promise.all(Array.from({ length: 12 }, async (_, i) => {
      const inputs = { x: Tensor.from('float32', [1, 3], [i, 1, -i]) }
      const { outputs } = await inferenceAt(gateway.url).infer({ model: 'affine', inputs }, {
        timeoutMs: 30_000,
        onMetadata: (metadata) => expected.delete(metadata['shoal-worker'] ?? ''),
      })
      expect([...outputs.y?.data as Float32Array]).toEqual(affine(WEIGHTS, [i, 1, -i]))
    }))
    return expected.size === 0
  })
}

describe.skipIf(!isInstalled)('a host', { timeout: 180_000 }, () => {
  it('serves on WebGPU in Node, on native code and on WebAssembly at once', async () => {
    const host = lend(['--device', 'webgpu,cpu,wasm'], { SHOAL_PACKAGES: PACKAGES, ...softwareVulkan() })
    await eventually(async () => (await listed()).length === 3)
    expect((await listed()).map(({ name, device, build }) => [name, device, build])).toEqual([
      ['host-1', 'webgpu', 'jspi'],
      ['host-2', 'cpu', 'native'],
      ['host-3', 'wasm', 'jspi'],
    ])
    await callAll()
    expect(host.output()).toMatch(/^worker host-1: Node \+ webgpu, webgpu on .*swiftshader.*: WebGPU was asked for/im)
    expect(host.output()).toMatch(/^worker host-2: onnxruntime-node, cpu on .+: Native code on the CPU was asked for/m)
    expect((await host.stop()).code).toBe(0)
    await eventually(async () => (await listed()).length === 0)
  })

  it('takes native code where the only adapter is a software one, and says why', async () => {
    const host = lend([], { SHOAL_PACKAGES: PACKAGES, ...softwareVulkan() })
    await eventually(async () => (await listed()).length === 1)
    expect(host.output()).toMatch(/^not headless Chromium: its engine is not in this process$/m)
    expect(host.output()).toMatch(/^not Node \+ webgpu: the only adapter \(.*\) renders in software/m)
    const [worker] = await listed()
    expect(worker).toMatchObject({
      device: 'cpu',
      reason: expect.stringMatching(/^Native code on the CPU, because .+/),
    })
    expect((await host.stop()).code).toBe(0)
  })
})

it(
  'a host without optional packages takes WebAssembly, several times if told to, and says how to get them',
  async () => {
    await eventually(async () => (await listed()).length === 0)
    const host = lend(['--workers', '2'], { SHOAL_PACKAGES: folder.path })
    await eventually(async () => (await listed()).length === 2)
    expect((await listed()).map(({ name, device }) => [name, device])).toEqual([['host-1', 'wasm'], ['host-2', 'wasm']])
    const lines = host.output().split('\n')
    for (
      const line of ['Node + webgpu: it is not installed (npm install webgpu)', 'onnxruntime-node: it is not installed']
    ) {
      expect(lines.filter((one) => one.startsWith(`not ${line}`))).toHaveLength(1)
    }
    await callAll()
    const { code, stderr } = await host.stop()
    expect([code, stderr]).toEqual([0, ''])
  },
  180_000,
)

it('asked for what it has not, a host says what it tried', async () => {
  const host = lend(['--device', 'cpu'], { SHOAL_PACKAGES: folder.path })
  const { code, stderr } = await host.ended
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/^shoal: Cannot compute on cpu: .*onnxruntime-node \(it is not installed .*\)\n$/),
  ])
})
