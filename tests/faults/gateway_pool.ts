import { join } from 'node:path'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { ask, inferenceAt } from '../conformance/gateway_http.ts'
import { affine, affineModel } from '../fixtures/models.ts'
import { type Running, startCli, temporaryFolder } from '../fixtures/process.ts'
import { busyModel } from './busy_model.ts'

export const WEIGHTS = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }

interface ListedWorker {
  id: string
  name: string
  device: string
  served: number
  inFlight: number
}

/** A gateway in a process of its own, with workers in theirs. */
export interface GatewayPool extends AsyncDisposable {
  readonly gateway: Running
  readonly url: string
  /** Starts `shoal worker`; it may not have joined yet. @param at another way to the gateway, of which it then logs */
  join(name: string, at?: string): Running
  workers(): Promise<ListedWorker[]>
  /** Starts the gateway again on the port it had, after it has ended. */
  restart(): Promise<void>
}

export async function startPool(): Promise<GatewayPool> {
  const folder = await temporaryFolder()
  const started: Running[] = []
  const start = async (port: string) => {
    const data = join(folder.path, 'data')
    const gateway = startCli(['start', '--port', port, '--workers', '0', '--no-demo', '--data-dir', data])
    started.push(gateway)
    const [, url = ''] = await gateway.wrote(/^shoal ready (http:\S+)$/m)
    return { gateway, url }
  }
  let { gateway, url } = await start('0')
  await ask(url, 'PUT', '/models/busy/versions/1', { body: busyModel(WEIGHTS) })
  await ask(url, 'PUT', '/models/joined/versions/1', { body: affineModel(WEIGHTS) })
  return {
    get gateway() {
      return gateway
    },
    get url() {
      return url
    },
    join(name, at = url) {
      const verbose = at === url ? [] : ['--verbose']
      const args = ['worker', '--device', 'wasm', ...verbose, '--name', name, '--gateway', at]
      const worker = startCli(args, { env: { HOME: folder.path } })
      started.push(worker)
      return worker
    },
    workers: async () => (await ask(url, 'GET', '/workers')).json.workers,
    async restart() {
      await gateway.ended
      ;({ gateway, url } = await start(new URL(url).port))
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(started.map((one) => one.stop()))
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** Of a caller who comes back when it is told to. */
const MAX_ATTEMPTS = 30

export interface Outcome {
  answered: number
  failed: unknown[]
  wrong: unknown[]
  /** Times that a call was told to come back, and did. */
  toldToComeBack: number
  /** Of each call, from its first attempt to its end. */
  latenciesMs: number[]
}

/**
 * Makes `calls` calls from `callers` at once, each with inputs of its own, and compares every answer with arithmetic.
 * @param comesBack whether a call that is told to come back after a time does so; else it has failed
 * @param onAnswer hears how many calls have ended, after each
 */
export async function callAll(
  url: string,
  { calls, callers, comesBack = false }: { calls: number; callers: number; comesBack?: boolean },
  onAnswer: (answered: number) => void,
): Promise<Outcome> {
  const client = inferenceAt(url)
  const outcome: Outcome = { answered: 0, failed: [], wrong: [], toldToComeBack: 0, latenciesMs: [] }
  let begun = 0
  const caller = async () => {
    for (let i = begun++; i < calls; i = begun++) {
      const row = [i, -i / 8, i % 7]
      const input = { model: i % 4 === 0 ? 'joined' : 'busy', inputs: { x: Tensor.from('float32', [1, 3], row) } }
      const startedMs = performance.now()
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        try {
          const { outputs } = await client.infer(input, { timeoutMs: 60_000 })
          const given = [...outputs.y?.data as Float32Array]
          if (String(given) !== String(affine(WEIGHTS, row))) outcome.wrong.push({ row, given })
        } catch (thrown) {
          const { code, retryAfterMs } = RpcError.from(thrown)
          if (comesBack && code === 'unavailable' && retryAfterMs !== undefined && attempt + 1 < MAX_ATTEMPTS) {
            outcome.toldToComeBack++
            await new Promise((resolve) => setTimeout(resolve, retryAfterMs))
            continue
          }
          outcome.failed.push(thrown)
        }
        break
      }
      outcome.latenciesMs.push(performance.now() - startedMs)
      onAnswer(++outcome.answered)
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return outcome
}
