import { sleep, systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { Log } from '../../shared/base/log.ts'
import { fullJitterMs } from '../../shared/base/random.ts'
import type { DeviceWish } from '../../shared/engine/detect.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { findChromium } from '../worker/find_chromium.ts'
import type { HostEngine, Refusal } from '../worker/host_engine.ts'
import { startHostWorker } from '../worker/host_worker.ts'
import type { HttpHost } from '../worker/http_host.ts'
import type { GatewayAccess } from './command.ts'
import { sayChanges } from './text.ts'

export interface MemberOptions {
  access: GatewayAccess
  name: string
  /** What its loaded models may take. */
  memoryBytes?: number
  cacheDir: string
  log: Log
  say(line: string): void
}

/** One worker of this process, or of a browser that it started. */
export interface Member {
  /** Resolves when it has stopped. Rejects where it gave up. */
  done: Promise<void>
  /** For `shoal doctor`. */
  describe(): Record<string, unknown>
  /** Finishes what is in flight and leaves. */
  stop(): Promise<void>
}

/**
 * Joins with headless Chromium on WebGPU, if it has an adapter that `wish` takes.
 * @returns the reason where it has not
 */
export async function joinChromium(options: MemberOptions, wish: DeviceWish): Promise<Member | Refusal> {
  const refuse = (reason: string): Refusal => ({ runtime: 'headless Chromium', reason })
  let path: string
  try {
    path = findChromium()
  } catch {
    return refuse('it is not on PATH nor in CHROMIUM_PATH (apt-get install chromium)')
  }
  const { findAdapter, joinWithChromium, launchChromium } = await import('../worker/chromium_worker.ts')
  const { access: { url, key }, name, memoryBytes, log, say } = options
  await untilReached(url, (line) => say(`worker ${name}: ${line}`))
  const browser = await launchChromium(path, url)
  try {
    const page = await browser.newPage()
    await page.goto(`${url}/livez`)
    const adapter = await findAdapter(page)
    await page.close()
    if (!adapter || (wish === 'auto' && adapter.software)) {
      await browser.close()
      return refuse(adapter ? `it finds only a software adapter (${adapter.name})` : 'it finds no WebGPU adapter')
    }
    say(`worker ${name}: WebGPU in headless Chromium on ${adapter.name}`)
    const refused = Promise.withResolvers<never>()
    let phase = 'starting'
    const onPhase = (now: string, detail: string) => {
      phase = now
      if (phase === 'serving') say(`worker ${name}: serving ${url}`)
      if (phase === 'waiting') say(`worker ${name}: ${detail}`)
      if (phase === 'refused' || phase === 'cannot') refused.reject(new RpcError('failed_precondition', detail))
    }
    const joined = await joinWithChromium(browser, {
      gateway: url,
      key,
      wish: 'webgpu',
      memoryBytes,
      name,
      log,
      onPhase,
    })
    const done = Promise.race([joined.gone, refused.promise]).finally(() => browser.close())
    return { done, stop: () => joined.stop(), describe: () => ({ name, runtime: 'headless Chromium', phase }) }
  } catch (thrown) {
    await browser.close()
    throw thrown
  }
}

/** Waits for a gateway that is not there yet, as workers without a browser do. */
async function untilReached(url: string, say: (line: string) => void): Promise<void> {
  const sayTrouble = sayChanges(say)
  const retry = { baseMs: DEFAULTS.reconnectBaseMs, capMs: DEFAULTS.reconnectCapMs }
  for (let attempt = 0;; attempt++) {
    const response = await fetch(`${url}/livez`).catch(() => undefined)
    await response?.body?.cancel()
    if (response) return
    sayTrouble(`Cannot reach the gateway: ${url} does not answer; trying again`)
    await sleep(systemClock, fullJitterMs(attempt, retry, Math.random))
  }
}

/** Joins with an engine of this process: at the gateway's relay, or at this host's own. */
export async function joinInProcess(
  { access, name, memoryBytes, cacheDir, log, say }: MemberOptions,
  { engine, runtime, refused }: HostEngine,
  host?: HttpHost,
): Promise<Member> {
  const at = host ? host.url : access.url
  const { info } = engine
  // Why not the others has been said of each of them.
  const isSaid = refused.length > 0 && info.reason.includes(', because ')
  const why = isSaid ? '' : `: ${info.reason}`
  say(`worker ${name}: ${runtime}, ${info.device} on ${info.adapter}${why}`)
  const stopped = Promise.withResolvers<string>()
  const sayTrouble = sayChanges(say)
  let phase = 'connecting'
  const worker = await startHostWorker({
    gateway: access.url,
    headers: access.headers,
    engine,
    enrol: host?.enrol,
    name,
    memoryBytes,
    cacheDir,
    log,
    onState(state) {
      phase = state.phase
      if (state.phase === 'serving') {
        sayTrouble(undefined)
        say(`worker ${name}: serving ${at} as ${state.worker}`)
      }
      if (state.phase === 'waiting') sayTrouble(`worker ${name}: ${state.reason}; trying again`)
      if (state.phase === 'stopped') stopped.resolve(state.reason)
    },
  })
  let asked = false
  const done = worker.agent.done.then(async () => {
    if (asked) return
    await engine.close()
    throw new RpcError('failed_precondition', await stopped.promise)
  })
  return {
    done,
    stop: () => (asked = true, worker.stop()),
    describe: () => ({ name, runtime, device: engine.info.device, phase, inFlight: worker.agent.serving }),
  }
}
