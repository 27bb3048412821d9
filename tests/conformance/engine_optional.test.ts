import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findPackage } from '../../functions/worker/optional_packages.ts'
import type { DeviceInfo, Engine } from '../../shared/engine/engine.ts'
import { linkEngine } from '../../shared/engine/engine_link.ts'
import type { NodeRuntime } from '../../shared/engine/open_node.ts'
import { spawnEngineThread } from '../../shared/engine/spawn_node.ts'
import { ROOT, startProcess } from '../fixtures/process.ts'
import { softwareVulkan } from '../fixtures/software_vulkan.ts'
import type { CaseResult } from '../suite.ts'
import { engineSuite, networkOutputs } from './engine_suite.ts'

const THREAD = new URL('../../functions/worker/engine_thread.ts', import.meta.url)
/** Installed by `npm test`; a test that is skipped for want of them fails in CI. */
const PACKAGES = `${ROOT}/tests/optional`
const native = findPackage('onnxruntime-node', PACKAGES)
const dawn = findPackage('webgpu', PACKAGES)

const opened: Engine[] = []
const open = async (runtime: NodeRuntime) => {
  const engine = await linkEngine({ spawn: () => spawnEngineThread(THREAD, 'auto', runtime) })
  opened.push(engine)
  return engine
}
afterAll(() => Promise.all(opened.map((engine) => engine.close())))

describe.skipIf(native === undefined)('onnxruntime-node', () => {
  const runtime: NodeRuntime = { kind: 'onnxruntime-node', entry: native ?? '', threads: 1, reason: 'A test.' }

  const { cases } = engineSuite('onnxruntime-node', () => open(runtime))
  for (const [name, run] of Object.entries(cases)) it(name, run)

  it('says what it is, and computes what WebAssembly does, in two threads at once', async () => {
    const [one, two, wasm] = await Promise.all([open(runtime), open(runtime), open({ kind: 'web' })])
    expect(one.info).toMatchObject({ device: 'cpu', build: 'native', fallbackAdapter: false, reason: 'A test.' })
    const [left, right, expected] = await Promise.all([one, two, wasm].map(networkOutputs))
    expect(left).toEqual(right)
    left?.forEach((value, i) => expect(value).toBeCloseTo(expected?.[i] ?? NaN, 5))
  })
})

describe.skipIf(dawn === undefined)('Node with the package webgpu', () => {
  let report: { info: DeviceInfo; results: CaseResult[]; outputs: number[][] }
  // In a process of its own: where Vulkan is found is settled when a process starts.
  beforeAll(async () => {
    const running = startProcess('node', ['tests/conformance/engine_dawn_process.ts', dawn ?? ''], {
      env: softwareVulkan(),
    })
    const { code, stdout, stderr } = await running.ended
    expect([code, stderr]).toEqual([0, ''])
    report = JSON.parse(stdout)
  }, 120_000)

  it('runs on the software adapter that Chromium brings, by Dawn', () => {
    expect(report.info).toMatchObject({ device: 'webgpu', build: 'jspi', fallbackAdapter: true })
    expect(report.info.adapter).toMatch(/swiftshader/i)
  })

  it('computes what WebAssembly does, in fresh threads side by side', async () => {
    const expected = await networkOutputs(await open({ kind: 'web' }))
    for (const outputs of report.outputs) {
      expect(outputs).toHaveLength(expected.length)
      outputs.forEach((value, i) => expect(value).toBeCloseTo(expected[i] ?? NaN, 5))
    }
    expect(report.outputs).toHaveLength(2)
  })

  // Opens no engine: only the names are read here.
  for (const title of Object.keys(engineSuite('webgpu', () => Promise.reject(new Error('not here'))).cases)) {
    it(title, () => {
      const result = report.results.find((one) => one.name === title)
      expect(result, 'the process must have run the case').toBeDefined()
      expect(result?.error).toBeUndefined()
    })
  }
})
