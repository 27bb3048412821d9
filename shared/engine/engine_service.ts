import * as z from 'zod'
import { EMPTY } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { device, name, tensor, tensors, workerLimits } from '../contracts/fields.ts'
import { type Client, clientOver } from '../rpc/client.ts'
import { defineService, unary } from '../rpc/contract.ts'
import type { Transport } from '../rpc/send.ts'
import { createServer, implement } from '../rpc/server.ts'
import { type PortLike, portPeer } from '../rpc/transports/message_port.ts'
import { RpcError } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import type { Engine, ExternalFile } from './engine.ts'

const nothing = z.object({})

const deviceInfo = z.object({
  device,
  build: z.string(),
  adapter: z.string(),
  fallbackAdapter: z.boolean(),
  fp16: z.boolean(),
  reason: z.string(),
  gflops: z.number().optional(),
  limits: workerLimits.optional(),
})

/** An engine in another thread. Private to one page or process: versions never mix. */
export const EngineService = defineService({
  name: 'shoal.Engine',
  version: '1.0.0',
  methods: {
    /** Answers once the engine has started, or with why it could not. */
    info: unary({ input: nothing, output: deviceInfo }),
    /** Stays open until the device is lost or the runtime has crashed; then the thread is of no more use. */
    lost: unary({ input: nothing, output: z.object({ reason: z.string() }) }),
    /** Adds the next bytes of a model: one message is too small for a large model. */
    append: unary({
      input: z.object({
        key: name,
        bytes: tensor,
        /** Bytes of the whole file, so that room for it is made once. */
        total: z.number().int().min(0).max(LIMITS.maxBundleBytes),
        /** Path of the file that the model has these weights in; the model itself where it is left out. */
        path: name.optional(),
      }),
      output: nothing,
    }),
    /** Loads the model whose bytes were appended. */
    load: unary({
      input: z.object({ key: name, trusted: z.boolean().optional() }),
      output: z.object({ placement: z.enum(['full', 'partial', 'refused']), warning: z.string().optional() }),
    }),
    run: unary({
      input: z.object({ key: name, inputs: tensors }),
      output: z.object({ outputs: tensors, timings: z.object({ waitMs: z.number(), runMs: z.number() }) }),
    }),
    unload: unary({ input: z.object({ key: name }), output: nothing }),
  },
})

/** An engine that tells when it is of no more use, as OrtEngine does. */
export type LosableEngine = Engine & { readonly lost: Promise<string> }

/** Serves an engine over a port, from the moment it is asked for: callers wait while it starts. */
export function serveEngine(starting: Promise<LosableEngine>, port: PortLike): void {
  const appended = new Map<string, Map<string, { whole: Uint8Array; bytes: number }>>()
  const server = createServer([
    implement(EngineService, {
      info: async () => (await starting).info,
      lost: async () => ({ reason: await (await starting).lost }),
      append({ key, bytes: { bytes: part }, total, path = MODEL }) {
        const files = appended.get(key) ?? new Map()
        const file = files.get(path) ?? { whole: new Uint8Array(total), bytes: 0 }
        if (file.bytes + part.byteLength > file.whole.byteLength) {
          appended.delete(key)
          throw new RpcError(
            'resource_exhausted',
            `Cannot load the model: it must have the ${file.whole.byteLength} bytes it was said to have, got more`,
          )
        }
        file.whole.set(part, file.bytes)
        file.bytes += part.byteLength
        appended.set(key, files.set(path, file))
        return {}
      },
      async load({ key, trusted }) {
        const files = appended.get(key)
        appended.delete(key)
        const external = [...files ?? []].filter(([path]) => path !== MODEL)
          .map(([path, { whole }]) => ({ path, data: whole }))
        return await (await starting).load(key, files?.get(MODEL)?.whole ?? EMPTY, {
          trusted,
          ...(external.length > 0 && { external }),
        })
      },
      run: async ({ key, inputs }) => await (await starting).run(key, inputs),
      async unload({ key }) {
        await (await starting).unload(key)
        return {}
      },
    }),
  ])
  // A caller hears of a failed start from `info`.
  starting.catch(() => {})
  portPeer(port, server)
}

/** Calls the engine behind a port. No deadline but the longest: whether a run is stuck is the link's to judge. */
export function engineClient(transport: Transport, clock: Clock): Client<typeof EngineService> {
  return clientOver(EngineService, { transport, clock, timeoutMs: LIMITS.maxTimeoutMs })
}

/** The model itself among the files appended: a path is never empty. */
const MODEL = ''

/** A model and its other files as messages of at most half of what one may hold. */
export function* modelParts(
  model: Uint8Array,
  external: readonly ExternalFile[] = [],
): Generator<{ bytes: Tensor; total: number; path?: string }> {
  const size = LIMITS.maxMessageBytes / 2
  for (const { path, data } of [{ path: undefined, data: model }, ...external]) {
    for (let from = 0; from < data.byteLength; from += size) {
      const part = data.subarray(from, from + size)
      yield { bytes: new Tensor('uint8', [part.byteLength], part), total: data.byteLength, ...(path && { path }) }
    }
  }
}
