import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type * as Ort from 'onnxruntime-web'
import type { Browser } from 'playwright-core'
import type { DType } from '../../../shared/wire/dtype.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { launchChromium } from '../../runtime/chromium.ts'
import type { Tensors } from './wasm.ts'

/** Nothing listens here: the page's requests are answered by this process. */
const ORIGIN = 'http://127.0.0.1:9'
const ORT = new URL('./', import.meta.resolve('onnxruntime-web/jspi'))

const PAGE = `<!doctype html>
<title>GPU</title>
<script type="module">
  import * as ort from '/ort.jspi.min.mjs'
  globalThis.ort = ort
</script>`

interface Sent {
  dtype: DType
  shape: readonly number[]
  base64: string
}

/** A page with onnxruntime-web on WebGPU, on whatever adapter the browser has; a software one will do. */
export interface WebgpuPage extends AsyncDisposable {
  /** Runs a model once, with every node on the GPU. @throws if one has no kernel there */
  run(model: Uint8Array, inputs: Tensors): Promise<Record<string, Tensor>>
}

export async function openWebgpuPage(): Promise<WebgpuPage> {
  const browser = await launchChromium()
  try {
    return await preparePage(browser)
  } catch (thrown) {
    await browser.close()
    throw thrown
  }
}

async function preparePage(browser: Browser): Promise<WebgpuPage> {
  const page = await browser.newPage()
  await page.route(`${ORIGIN}/**`, async (route) => {
    const name = new URL(route.request().url()).pathname.slice(1)
    if (name === '') return await route.fulfill({ contentType: 'text/html', body: PAGE })
    const contentType = name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript'
    await route.fulfill({ contentType, body: await readFile(fileURLToPath(new URL(name, ORT))) })
  })
  await page.goto(`${ORIGIN}/`)
  await page.waitForFunction('globalThis.ort')
  return {
    async run(model, inputs) {
      const sent = Object.entries(inputs).map(([name, { dtype, shape, bytes }]) => {
        return [name, { dtype, shape, base64: toBase64(bytes) }] as const
      })
      const inputsSent = Object.fromEntries(sent)
      const outputs = await page.evaluate(runInPage, { model: toBase64(model), inputs: inputsSent })
      return Object.fromEntries(
        Object.entries(outputs).map(([name, { dtype, shape, base64 }]) => {
          return [name, new Tensor(dtype, shape, Buffer.from(base64, 'base64'))]
        }),
      )
    },
    [Symbol.asyncDispose]: () => browser.close(),
  }
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

/** Runs inside of the page, so it uses nothing of this file. */
async function runInPage({ model, inputs }: { model: string; inputs: Record<string, Sent> }) {
  const { ort } = globalThis as unknown as { ort: typeof Ort }
  const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
  const textOf = (bytes: Uint8Array) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
  const session = await ort.InferenceSession.create(bytesOf(model), {
    executionProviders: ['webgpu'],
    logSeverityLevel: 4,
    extra: { session: { disable_cpu_ep_fallback: '1' } },
  })
  try {
    const feeds = Object.entries(inputs).map(([name, { dtype, shape, base64 }]) => {
      const { buffer } = bytesOf(base64)
      const data = dtype === 'int32' ? new Int32Array(buffer) : new Float32Array(buffer)
      return [name, new ort.Tensor(dtype as 'int32', data as Int32Array, [...shape])] as const
    })
    const results = await session.run(Object.fromEntries(feeds))
    return Object.fromEntries(
      Object.entries(results).map(([name, { type, dims, data }]): [string, Sent] => {
        const { buffer, byteOffset, byteLength } = data as Float32Array
        return [name, {
          dtype: type as DType,
          shape: dims,
          base64: textOf(new Uint8Array(buffer, byteOffset, byteLength)),
        }]
      }),
    )
  } finally {
    await session.release()
  }
}
