import { systemClock } from '../../shared/base/clock.ts'
import type { Log } from '../../shared/base/log.ts'
import type { DeviceWish } from '../../shared/engine/detect.ts'
import { type LinkedEngine, linkEngine } from '../../shared/engine/engine_link.ts'
import { spawnEngineThread } from '../../shared/engine/spawn_node.ts'
import { readHttpError } from '../../shared/rpc/http.ts'
import type { SocketLike } from '../../shared/rpc/transports/websocket.ts'
import { httpData } from '../../shared/training/http_data.ts'
import { workerTraining } from '../../shared/training/worker_training.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { Agent, type AgentDeps, type AgentState } from '../../shared/worker/agent.ts'
import { httpModels } from '../../shared/worker/model_source.ts'
import { folderCache } from './folder_cache.ts'
import { openSocket } from './node_socket.ts'

export interface HostWorkerOptions {
  gateway: string
  /** Sent with enrolment and downloads. */
  headers: Record<string, string>
  /** What it computes on, ended with the worker. One on `wish` by default. */
  engine?: LinkedEngine
  wish?: DeviceWish
  /** How it gets to a relay: by enrolling at the gateway, unless the relay is in this process. */
  enrol?: AgentDeps['enrol']
  name: string
  /** As in AgentDeps. */
  memoryBytes?: number
  /** Where model files are kept between lives. */
  cacheDir: string
  log: Log
  onState?(state: AgentState): void
}

export interface HostWorker {
  agent: Agent
  engine: LinkedEngine
  /** Finishes what is in flight, leaves, and frees the engine. */
  stop(): Promise<void>
}

/** A worker in this process: the agent here, its engine in a thread, so that a long run never delays a ping. */
export async function startHostWorker(options: HostWorkerOptions): Promise<HostWorker> {
  const { gateway, headers, log } = options
  const thread = new URL('./engine_thread.ts', import.meta.url)
  const engine = options.engine ??
    await linkEngine({ spawn: () => spawnEngineThread(thread, options.wish ?? 'wasm'), log })
  const models = httpModels(gateway, { headers, cache: folderCache(options.cacheDir) })
  const agent = new Agent({
    name: options.name,
    memoryBytes: options.memoryBytes,
    engine,
    models,
    services: [workerTraining({ engine, source: httpData((sha256, signal) => models.get(sha256, signal)) })],
    enrol: options.enrol ?? ((signal) => enrol(gateway, headers, signal)),
    clock: systemClock,
    random: Math.random,
    log,
    onState: options.onState,
  })
  return {
    agent,
    engine,
    async stop() {
      await agent.drain()
      await engine.close()
    },
  }
}

/** Enrols at a gateway. @throws RpcError what the gateway answered, or `unavailable` if it does not */
export async function enrol(
  gateway: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<{ token: string; socket: SocketLike }> {
  const response = await fetch(`${gateway}/workers/enrol`, { method: 'POST', headers, redirect: 'manual', signal })
    .catch(
      (cause) => {
        throw new RpcError('unavailable', `Cannot enrol: ${gateway} does not answer`, { cause })
      },
    )
  if (!response.ok) throw await readHttpError(response)
  const { token, connect } = await response.json() as { token: string; connect: string }
  const url = new URL(connect, gateway)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return { token, socket: openSocket(url) }
}
