import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { buildWeb } from '../../infra/build_web.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { eventually } from '../conformance/expectations.ts'
import { ask, inferenceAt } from '../conformance/gateway_http.ts'
import { metricAt } from '../conformance/gateway_metrics.ts'
import { affine, affineModel } from '../fixtures/models.ts'
import { type Running, startCli, temporaryFolder } from '../fixtures/process.ts'
import { launchChromium } from '../runtime/chromium.ts'
import { busyModel } from './busy_model.ts'

const CALLS = 200
const CALLERS = 16
const WEIGHTS = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }

interface Listed {
  id: string
  name: string
  device: string
  served: number
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let gateway: Running
let url: string
let doomed: Running
let steady: Running
let browser: Browser
let tab: Page

const workers = async (): Promise<Listed[]> => (await ask(url, 'GET', '/workers')).json.workers

beforeAll(async () => {
  folder = await temporaryFolder()
  const data = join(folder.path, 'data')
  const [launched] = await Promise.all([launchChromium(), buildWeb()])
  browser = launched
  gateway = startCli(['start', '--port', '0', '--workers', '0', '--no-demo', '--data-dir', data])
  url = (await gateway.wrote(/^shoal ready (http:\S+)$/m))[1] ?? ''
  const byCli = (name: string) =>
    startCli(['worker', '--device', 'wasm', '--name', name, '--gateway', url], { env: { HOME: folder.path } })
  doomed = byCli('doomed')
  steady = byCli('steady')
  tab = await browser.newPage()
  await tab.goto(`${url}/join?device=webgpu`)
  await eventually(async () => (await workers()).length === 3)
  expect((await workers()).map(({ device }) => device).sort()).toEqual(['wasm', 'wasm', 'webgpu'])
  await ask(url, 'PUT', '/models/busy/versions/1', { body: busyModel(WEIGHTS) })
  await ask(url, 'PUT', '/models/joined/versions/1', { body: affineModel(WEIGHTS) })
})

afterAll(async () => {
  doomed?.signal('SIGKILL')
  await browser?.close()
  const ended = await Promise.all([steady?.stop(), gateway?.stop()])
  await folder[Symbol.asyncDispose]()
  expect(ended.map(({ code }) => code)).toEqual([0, 0])
})

it(`answers ${CALLS} calls of ${CALLERS} callers while a worker is killed and another's tab is closed`, async () => {
  const client = inferenceAt(url)
  const failed: unknown[] = []
  const wrong: unknown[] = []
  let begun = 0
  let answered = 0
  const faults: Promise<void>[] = []
  const onAnswer = () => {
    answered++
    if (answered === CALLS / 4) faults.push(Promise.resolve(doomed.signal('SIGKILL')))
    if (answered === CALLS / 2) faults.push(tab.close())
  }
  const caller = async () => {
    for (let i = begun++; i < CALLS; i = begun++) {
      const row = [i, -i / 8, i % 7]
      const input = { model: i % 4 === 0 ? 'joined' : 'busy', inputs: { x: Tensor.from('float32', [1, 3], row) } }
      try {
        const { outputs } = await client.infer(input, { timeoutMs: 60_000 })
        const given = [...outputs.y?.data as Float32Array]
        if (String(given) !== String(affine(WEIGHTS, row))) wrong.push({ row, given })
      } catch (thrown) {
        failed.push(thrown)
      }
      onAnswer()
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  await Promise.all(faults)

  expect(failed).toEqual([])
  expect(wrong).toEqual([])
  expect(answered).toBe(CALLS)
  expect((await doomed.ended).signal).toBe('SIGKILL')
  // The faults struck workers at work: what they had in hand went to others.
  expect(await metricAt(url, 'shoal_pool_calls_requeued_total')).toBeGreaterThan(0)
  await eventually(async () => (await workers()).length === 1)
  expect((await workers())[0]?.name).toBe('steady')
}, 120_000)
