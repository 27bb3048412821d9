import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import { startHostWorker } from '../../functions/worker/host_worker.ts'
import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import { createKey, type KeyRecord, type Scope, SCOPES } from '../../shared/stores/keys.ts'
import { temporaryFolder } from '../fixtures/process.ts'
import { abuseCases } from './gateway_abuse_cases.ts'
import { abuseKeyCases } from './gateway_abuse_key_cases.ts'
import { binaryCases } from './gateway_binary_cases.ts'
import { cancellationCases } from './gateway_cancellation_cases.ts'
import { hostCases, hostKeyCases } from './gateway_host_cases.ts'
import { catalogCases } from './gateway_catalog_cases.ts'
import { generateCases } from './gateway_generate_cases.ts'
import { bearer } from './gateway_http.ts'
import { jobCases, jobKeyCases } from './gateway_job_cases.ts'
import { keyCases } from './gateway_key_cases.ts'
import { modelCases } from './gateway_model_cases.ts'
import { openInferenceCases } from './gateway_open_inference_cases.ts'
import { operationCases } from './gateway_operation_cases.ts'
import { pathCases } from './gateway_path_cases.ts'
import { noProcessCases, processCases } from './gateway_process_cases.ts'
import { brokenRequestCases, refusalCases } from './gateway_refusal_cases.ts'
import { registryCases } from './gateway_registry_cases.ts'
import { rpcCases } from './gateway_rpc_cases.ts'
import { directCases } from './gateway_direct_cases.ts'
import { functionCases, functionKeyCases } from './gateway_function_cases.ts'
import { socketCases } from './gateway_socket_cases.ts'
import { streamCases } from './gateway_stream_cases.ts'
import { closeOf, workerCases } from './gateway_worker_cases.ts'

export interface GatewayUnderTest {
  url: string
  close(): Promise<void>
}

/** Starts a gateway on loopback with an empty store of its own. It needs keys if some are given. */
export type StartGateway = (keys: readonly KeyRecord[]) => Promise<GatewayUnderTest>

/** Joins a real worker and resolves once it serves. */
export type JoinWorker = (url: string, headers: Record<string, string>) => Promise<{ stop(): Promise<void> }>

export interface SuiteOptions {
  /** One in this process by default. */
  join?: JoinWorker
  /** True where the runtime drops a request whose body breaks off, so that nobody learns of it. */
  forgetsBrokenRequests?: boolean
  /** True where the gateway cannot look into its process. */
  hasNoProcess?: boolean
  /** False where the gateway calls functions over HTTP alone. */
  keepsSockets?: boolean
  /** True where packing answers is the platform's business: the gateway does not see what its callers wish. */
  platformPacks?: boolean
}

/** Headers with a key of each scope. */
export type Keys = Readonly<Record<Scope, { authorization: string }>>

/**
 * What a gateway must do, over plain HTTP and WebSocket, whatever runtime it is on. One gateway without keys and one
 * with keys serve all cases; models and services are named by the case that uses them.
 */
export function gatewaySuite(
  name: string,
  start: StartGateway,
  {
    join = joinHostWorker,
    forgetsBrokenRequests = false,
    hasNoProcess = false,
    platformPacks = false,
    keepsSockets = true,
  }: SuiteOptions = {},
): void {
  describe(name, () => {
    describe('without keys', () => {
      let gateway: GatewayUnderTest
      let worker: { stop(): Promise<void> } | undefined
      let silent: Promise<{ code: number }>
      const at = () => gateway.url
      beforeAll(async () => {
        gateway = await start([])
      })
      afterAll(async () => {
        await worker?.stop()
        await gateway?.close()
      })

      // These come before the real worker: they need one that they hold by hand, and no other.
      describe('cancellation', () => cancellationCases(at))

      describe('with a worker', () => {
        beforeAll(async () => {
          worker = await join(at(), {})
          // Waits out the time for a hello beside the other cases.
          silent = closeOf(at())
        })
        describe('models', () => modelCases(at))
        describe('catalog', () => catalogCases(at))
        describe('Open Inference Protocol', () => openInferenceCases(at))
        describe('binary tensor data', () => binaryCases(at, { packs: !platformPacks }))
        describe('generation', () => generateCases(at))
        describe('RPC', () => rpcCases(at))
        describe('functions', () => registryCases(at))
        describe('jobs', () => jobCases(at))
        describe('streams over HTTP', () => streamCases(at, false))
        describe('functions over HTTP', () => functionCases(at, 'http'))
        if (keepsSockets) {
          describe('streams over a socket', () => streamCases(at, true))
          describe('functions over a socket', () => functionCases(at, 'socket'))
          describe('sockets', () => socketCases(at))
        }
        describe('directly over the registry', () => directCases(at))
        describe('refusals', () => {
          refusalCases(at)
          if (!forgetsBrokenRequests) brokenRequestCases(at)
        })
        describe('abuse', () => abuseCases(at))
        describe('operations', () => operationCases(at))
        describe('workers', () => workerCases(at, () => silent))
        describe('hosts', () => hostCases(at, { keepsSockets }))
        describe('process', () => hasNoProcess ? noProcessCases(at) : processCases(at))
      })
    })

    describe('with keys', () => {
      let gateway: GatewayUnderTest
      let worker: { stop(): Promise<void> } | undefined
      let keys: Keys
      let hosts: { authorization: string }[]
      beforeAll(async () => {
        const made = await Promise.all(SCOPES.map((scope) => createKey([scope], systemClock)))
        keys = Object.fromEntries(SCOPES.map((scope, i) => [scope, bearer(made[i]?.text ?? '')])) as Keys
        const forHosts = await Promise.all([1, 2].map(() => createKey(['worker', 'service'], systemClock)))
        hosts = forHosts.map(({ text }) => bearer(text))
        gateway = await start([...made, ...forHosts].map(({ record }) => record))
        worker = await join(gateway.url, keys.worker)
      })
      afterAll(async () => {
        await worker?.stop()
        await gateway?.close()
      })

      describe('keys', () => keyCases(() => gateway.url, () => keys))
      describe('hosts', () => hostKeyCases(() => gateway.url, () => keys, () => hosts))
      for (const way of keepsSockets ? ['http', 'socket'] as const : ['http'] as const) {
        describe(`functions: ${way}`, () => functionKeyCases(() => gateway.url, () => keys, way))
      }
      describe('jobs', () => jobKeyCases(() => gateway.url, () => keys))
      describe('paths', () => pathCases(() => gateway.url, () => keys))
      describe('abuse', () => abuseKeyCases(() => gateway.url, () => keys))
    })
  })
}

/** A WebAssembly worker in this process. */
export const joinHostWorker: JoinWorker = async (gateway, headers) => {
  const folder = await temporaryFolder()
  const serving = Promise.withResolvers<void>()
  const worker = await startHostWorker({
    gateway,
    headers,
    wish: 'wasm',
    name: 'suite',
    cacheDir: join(folder.path, 'cache'),
    log: silentLog,
    onState(state) {
      if (state.phase === 'serving') serving.resolve()
      if (state.phase === 'stopped') serving.reject(new Error(state.reason))
    },
  })
  await serving.promise
  return {
    async stop() {
      await worker.stop()
      await folder[Symbol.asyncDispose]()
    },
  }
}
