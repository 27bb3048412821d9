import { homedir, hostname } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { jsonLog, type Log, silentLog } from '../../shared/base/log.ts'
import { type DeviceWish, isDeviceWish } from '../../shared/engine/detect.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { findChromium } from '../worker/find_chromium.ts'
import { startHostWorker } from '../worker/host_worker.ts'
import { type Command, GATEWAY_HELP, GATEWAY_OPTIONS, type GatewayAccess, gatewayAccess, parse } from './command.ts'
import { onStopSignal } from './stop_signal.ts'

const HELP = `Lends this machine to a gateway until it is stopped (Ctrl-C finishes what is in flight and leaves).

Usage: shoal worker [--gateway URL] [--token KEY] [--device auto|webgpu|wasm]

  --device auto    headless Chromium with WebGPU where it finds a real GPU, else WebAssembly in Node (default)
  --device webgpu  headless Chromium with WebGPU, a software adapter included
  --device wasm    WebAssembly in Node
  --name NAME      how the worker is listed (default: this machine's name)
  --verbose        logs as JSON lines on stderr
  --token KEY      a key with scope "worker", the same as --key
${GATEWAY_HELP}
`

interface Options {
  access: GatewayAccess
  name: string
  log: Log
}

export const worker: Command = {
  summary: 'lends this machine to a gateway',
  help: HELP,
  async run(args) {
    const { values } = parse(args, {
      ...GATEWAY_OPTIONS,
      token: { type: 'string' },
      device: { type: 'string', default: 'auto' },
      name: { type: 'string', default: hostname() },
      verbose: { type: 'boolean', default: false },
    }, 0)
    if (!isDeviceWish(values.device)) {
      throw invalid(`Cannot start the worker: --device must be auto, webgpu or wasm, got "${values.device}"`)
    }
    const options: Options = {
      access: gatewayAccess({ gateway: values.gateway, key: values.token ?? values.key }, process.env),
      name: values.name,
      log: values.verbose ? jsonLog('info') : silentLog,
    }
    if (values.device === 'wasm') return await runInNode(options, 'it was asked for')
    await runInChromium(options, values.device)
  },
}

async function runInChromium(options: Options, wish: DeviceWish): Promise<void> {
  const path = findOrUndefined()
  if (path === undefined) {
    if (wish === 'auto') return await runInNode(options, 'there is no Chromium on this machine')
    throw new RpcError(
      'failed_precondition',
      'Cannot start the worker: WebGPU requires Chromium on PATH or in CHROMIUM_PATH, got none (apt-get install chromium)',
    )
  }
  const { findAdapter, joinWithChromium, launchChromium } = await import('../worker/chromium_worker.ts')
  const { access: { url, key }, name, log } = options
  const browser = await launchChromium(path)
  try {
    const page = await browser.newPage()
    await page.goto(`${url}/livez`).catch((cause) => {
      throw new RpcError('unavailable', `Cannot reach the gateway: ${url} does not answer`, { cause })
    })
    const adapter = await findAdapter(page)
    await page.close()
    const usable = adapter && (wish === 'webgpu' || !adapter.software)
    if (!usable) {
      await browser.close()
      const reason = adapter
        ? `Chromium finds only a software adapter (${adapter.name})`
        : 'Chromium finds no WebGPU adapter'
      if (wish === 'auto') return await runInNode(options, reason)
      throw new RpcError('failed_precondition', `Cannot start the worker: WebGPU requires an adapter, and ${reason}`)
    }
    say(`worker ${name}: WebGPU in headless Chromium on ${adapter.name}`)
    const refused = Promise.withResolvers<string>()
    const onPhase = (phase: string, detail: string) => {
      if (phase === 'serving') say(`worker ${name}: serving ${url}`)
      if (phase === 'waiting') say(`worker ${name}: ${detail}`)
      if (phase === 'refused' || phase === 'cannot') refused.resolve(detail)
    }
    const joined = await joinWithChromium(browser, { gateway: url, key, wish: 'webgpu', name, log, onPhase })
    onStopSignal(() => joined.stop())
    const reason = await Promise.race([joined.gone, refused.promise])
    if (reason !== undefined) throw new RpcError('failed_precondition', reason)
  } finally {
    await browser.close()
  }
}

async function runInNode({ access, name, log }: Options, because: string): Promise<void> {
  let stopped = ''
  const started = await startHostWorker({
    gateway: access.url,
    headers: access.headers,
    wish: 'wasm',
    name,
    cacheDir: join(homedir(), '.cache/shoal/models'),
    log,
    onState(state) {
      if (state.phase === 'serving') say(`worker ${name}: serving ${access.url} as ${state.worker}`)
      if (state.phase === 'waiting') say(`worker ${name}: ${state.reason}; trying again`)
      if (state.phase === 'stopped') stopped = state.reason
    },
  })
  say(`worker ${name}: WebAssembly in Node, because ${because}`)
  let asked = false
  onStopSignal(() => (asked = true, started.stop()))
  await started.agent.done
  if (asked) return
  await started.engine.close()
  throw new RpcError('failed_precondition', stopped)
}

function findOrUndefined(): string | undefined {
  try {
    return findChromium()
  } catch {
    return undefined
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
