import * as z from 'zod'
import type { RunningFunction } from '../../functions/run_function.ts'
import { runOnNode } from '../../functions/run_node.ts'
import { serve, type ServedFunction } from '../../shared/registry/serve.ts'
import { defineService, serverStreaming, unary } from '../../shared/rpc/contract.ts'
import { tensor } from '../../shared/contracts/fields.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { eventually } from './expectations.ts'

/** How a gateway calls a function that is Shoal's. */
export type Way = 'http' | 'socket'

const text = z.object({ text: z.string() })

/** A function with a method for each thing that may happen to a call. Nothing is idempotent: no failure is mended unseen. */
export const Probe = defineService({
  name: 'demo.Probe',
  version: '1.2.0',
  methods: {
    echo: unary({ input: text, output: text }),
    double: unary({ input: z.object({ x: tensor }), output: z.object({ x: tensor }) }),
    /** What the handler knows of its call. */
    context: unary({
      input: z.object({}),
      output: z.object({
        metadata: z.record(z.string(), z.string()),
        traceparent: z.string(),
        timeoutMs: z.number(),
        caller: z.string().optional(),
      }),
    }),
    refuse: unary({ input: z.object({ code: z.string() }), output: text }),
    /** Waits until it is told to stop, or until it is let go. */
    wait: unary({ input: z.object({ name: z.string() }), output: text }),
    /** At most one at a time, and none may wait. */
    alone: unary({ input: z.object({ name: z.string() }), output: text }),
    count: serverStreaming({ input: z.object({ to: z.number() }), output: z.object({ n: z.number() }) }),
  },
})

export interface ProbeFunction {
  app: ServedFunction
  running: RunningFunction
  /** Calls that came over HTTP. */
  readonly overHttp: number
  /** Calls to `wait` and `alone` that run, by name. */
  waiting: Map<string, { letGo(): void }>
  /** Names of those that were told to stop. */
  stopped: string[]
}

export async function startProbe(
  gateway: string,
  way: Way,
  env: Record<string, string> = {},
): Promise<ProbeFunction> {
  const waiting = new Map<string, { letGo(): void }>()
  const stopped: string[] = []
  const wait = async (name: string, signal: AbortSignal) => {
    try {
      await new Promise<void>((resolve, reject) => {
        waiting.set(name, { letGo: resolve })
        signal.addEventListener('abort', () => {
          stopped.push(name)
          reject(RpcError.from(signal.reason))
        }, { once: true })
      })
    } finally {
      waiting.delete(name)
    }
    return { text: name }
  }
  const app = serve(Probe, {
    echo: (input, { setMetadata }) => {
      setMetadata('x-echo', 'yes')
      return input
    },
    double: ({ x }) => ({ x: Tensor.from('float32', x.shape, (x.data as Float32Array).map((value) => 2 * value)) }),
    context: (_, { metadata, traceparent, timeoutMs, caller }) => ({
      metadata: { ...metadata },
      traceparent,
      timeoutMs,
      ...(caller !== undefined && { caller }),
    }),
    refuse: ({ code }) => {
      throw new RpcError(code as 'aborted', 'Cannot do that', { details: [{ at: 1 }], retryAfterMs: 7_000 })
    },
    wait: ({ name }, { signal }) => wait(name, signal),
    alone: ({ name }, { signal }) => wait(name, signal),
    async *count({ to }) {
      for (let n = 0; n < to; n++) {
        await Promise.resolve()
        yield { n }
      }
    },
  }, { limits: { alone: { maxConcurrent: 1 } } })
  let overHttp = 0
  const counted: ServedFunction = Object.create(app, {
    fetch: {
      value(request: Request) {
        overHttp++
        return app.fetch(request)
      },
    },
  })
  const running = await runOnNode(counted, { env: { SHOAL_GATEWAY: gateway, ...env }, sockets: way === 'socket' })
  if (app.lease.failure) throw app.lease.failure
  return {
    app,
    running,
    waiting,
    stopped,
    get overHttp() {
      return overHttp
    },
  }
}

/** Waits until calls arrive, over its socket where it has one. */
export async function reached(probe: ProbeFunction, way: Way, call: () => Promise<unknown>): Promise<void> {
  await eventually(async () => {
    const before = probe.overHttp
    const answered = await call().then(() => true, () => false)
    return answered && (way === 'http' || (probe.app.sockets.size > 0 && probe.overHttp === before))
  })
}
