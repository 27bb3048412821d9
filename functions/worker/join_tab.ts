import type { Clock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { Log } from '../../shared/base/log.ts'
import type { DeviceWish } from '../../shared/engine/detect.ts'
import type { DeviceInfo, Engine, RunTimings } from '../../shared/engine/engine.ts'
import { type LinkedEngine, linkEngine } from '../../shared/engine/engine_link.ts'
import { spawnEngineWorker } from '../../shared/engine/spawn_web.ts'
import { type SocketLike, SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { httpData } from '../../shared/training/http_data.ts'
import { workerTraining } from '../../shared/training/worker_training.ts'
import { Agent, type AgentState } from '../../shared/worker/agent.ts'
import { cacheStorageModels } from '../../shared/worker/cache_storage.ts'
import { httpModels } from '../../shared/worker/model_source.ts'
import { askGateway, authorization } from '../console/gateway_api.ts'

export interface TabOptions {
  name: string
  wish: DeviceWish
  /** As in AgentDeps. */
  memoryBytes?: number
  key: string | undefined
  clock: Clock
  log: Log
  onState(state: AgentState): void
  /** Called once the engine has started, and again when a lost device was replaced. */
  onDevice(info: DeviceInfo): void
  onRun(timings: RunTimings): void
  /** How far the download of a model has come; `total` is 0 where the gateway does not say. */
  onDownload(bytes: number, total: number): void
}

export interface Tab {
  /** Resolves once the engine has started and joining has begun. @throws RpcError whatever keeps it from starting */
  readonly started: Promise<void>
  /**
   * Leaves: says goodbye before the first await, lets what is in flight finish, and frees the device. A start that is
   * still under way is given up.
   */
  leave(): Promise<void>
}

/** Starts an engine in a Worker and joins the gateway that served this page. */
export function joinTab(options: TabOptions): Tab {
  const givenUp = Promise.withResolvers<string>()
  const visibility = new AbortController()
  let worker: { engine: LinkedEngine; agent: Agent } | undefined
  const start = async () => {
    const engine = await startEngine(options, givenUp.promise)
    engine.onRestart(options.onDevice)
    options.onDevice(engine.info)
    const agent = startAgent(options, engine)
    worker = { engine, agent }
    const { signal } = visibility
    const onVisibility = () => agent.share = document.visibilityState === 'hidden' ? DEFAULTS.hiddenShare : 1
    document.addEventListener('visibilitychange', onVisibility, { signal })
    onVisibility()
  }
  const started = start()
  return {
    started,
    async leave() {
      visibility.abort()
      if (!worker) {
        givenUp.resolve('the tab has left')
        await started.catch(() => {})
      }
      await worker?.agent.drain()
      await worker?.engine.close()
    },
  }
}

function startEngine({ wish, clock, log }: TabOptions, givenUp: Promise<string>): Promise<LinkedEngine> {
  const spawn = async () => {
    const thread = await spawnEngineWorker('/assets/engine_worker.js', { wish })
    return { ...thread, exited: Promise.race([thread.exited, givenUp]) }
  }
  return linkEngine({ spawn, clock, log })
}

function startAgent(options: TabOptions, engine: Engine): Agent {
  const { name, key, clock, log, onState, onRun, onDownload, memoryBytes } = options
  const headers = authorization(key)
  const reported = reporting(engine, onRun)
  // Training data are kept in memory alone: in the browser's storage they would drive the models out.
  const blobs = httpModels(location.origin, { headers })
  return new Agent({
    name,
    memoryBytes,
    engine: reported,
    models: httpModels(location.origin, { headers, cache: cacheStorageModels(caches), onProgress: onDownload }),
    services: [
      workerTraining({ engine: reported, source: httpData((sha256, signal) => blobs.get(sha256, signal)) }),
    ],
    enrol: (signal) => enrol(key, signal),
    clock,
    random: Math.random,
    log,
    onState,
  })
}

async function enrol(key: string | undefined, signal: AbortSignal): Promise<{ token: string; socket: SocketLike }> {
  const answer = await askGateway('POST', '/workers/enrol', key, signal)
  const { token, connect } = answer as { token: string; connect: string }
  const url = new URL(connect, location.origin)
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:'
  return { token, socket: new WebSocket(url, SUBPROTOCOL) }
}

/** The same engine, telling of each run that succeeded. */
function reporting(engine: Engine, onRun: (timings: RunTimings) => void): Engine {
  return {
    get info() {
      return engine.info
    },
    load: (key, model, options) => engine.load(key, model, options),
    async run(key, inputs) {
      const result = await engine.run(key, inputs)
      onRun(result.timings)
      return result
    },
    unload: (key) => engine.unload(key),
    close: () => engine.close(),
  }
}
