import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { beforeAll, expect, it } from 'vitest'
import { buildWeb } from '../../../infra/build_web.ts'
import { ROOT } from '../../../infra/tools.ts'

const ASSETS = join(ROOT, 'dist/assets')
const ORT = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/wasm'))

beforeAll(() => buildWeb())

it('leaves what is up to date alone', async () => {
  const written = () => readdirSync(join(ASSETS, 'ort')).map((name) => statSync(join(ASSETS, 'ort', name)).mtimeMs)
  const [before, bundle] = [written(), statSync(join(ASSETS, 'engine_worker.js')).mtimeMs]
  await buildWeb()
  expect(written()).toEqual(before)
  expect(statSync(join(ASSETS, 'engine_worker.js')).mtimeMs).toBe(bundle)
})

it('ships each build of ONNX Runtime with the files it loads', () => {
  for (const name of ['ort.jspi.bundle.min.mjs', 'ort-wasm-simd-threaded.jspi.wasm', 'ort-wasm-simd-threaded.wasm']) {
    expect(readFileSync(join(ASSETS, 'ort', name)).equals(readFileSync(join(ORT, name))), name).toBe(true)
  }
  const asyncify = 'ort-wasm-simd-threaded.asyncify.wasm'
  expect(gunzipSync(readFileSync(join(ASSETS, 'ort', `${asyncify}.gz`))).equals(readFileSync(join(ORT, asyncify))))
    .toBe(true)
})

it('bundles our own code only: ONNX Runtime is loaded by URL', () => {
  const worker = readFileSync(join(ASSETS, 'engine_worker.js'), 'utf8')
  expect(worker).toContain('ort.jspi.bundle.min.mjs')
  expect(worker).not.toContain('OrtCreateSession')
  expect(worker).not.toMatch(/from\s*["']/)
})
