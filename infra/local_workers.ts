/** The Worker of wrangler.toml in workerd on this machine: R2 and Durable Objects by miniflare, leases in a real Redis. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { convertV4MiniflareOptions, Miniflare, type V4WorkerOptionsShape } from 'miniflare'
import { unstable_getMiniflareWorkerOptions } from 'wrangler'
import { toHex } from '../shared/base/bytes.ts'
import { startRedisServer } from './local_redis.ts'
import { startRedisRest } from './redis_rest.ts'
import { ROOT, run } from './tools.ts'

export interface LocalWorkers {
  url: string
  /** The local Redis, as the Worker reaches it. */
  redis: { url: string; token: string }
  miniflare: Miniflare
  /** Ends workerd and Redis, and all that they kept. */
  close(): Promise<void>
}

export interface LocalWorkersOptions {
  /** 0, the default, takes a free one. */
  port?: number
  /** On top of those in wrangler.toml: variables and secrets. */
  vars?: Readonly<Record<string, string>>
}

/** The Worker's name where miniflare asks for one. */
export const WORKER_NAME = 'shoal'

/**
 * Bundles the Worker as a deployment would and starts it on 127.0.0.1 with an empty store, bucket and relays.
 * @throws Error if it cannot be built or redis-server is not installed
 */
export async function startLocalWorkers({ port = 0, vars = {} }: LocalWorkersOptions = {}): Promise<LocalWorkers> {
  const script = await (bundle ??= bundleWorker())
  const redis = await startRedisServer()
  const token = toHex(crypto.getRandomValues(new Uint8Array(16)))
  const front = await startRedisRest({ redisUrl: redis.url, token, port: 0 })
  const config: V4WorkerOptionsShape = unstable_getMiniflareWorkerOptions(join(ROOT, 'wrangler.toml')).workerOptions
  const secrets = {
    SHOAL_SECRET: toHex(crypto.getRandomValues(new Uint8Array(32))),
    UPSTASH_REDIS_REST_URL: front.url,
    UPSTASH_REDIS_REST_TOKEN: token,
  }
  const keep = signalHandlers()
  const miniflare = new Miniflare(convertV4MiniflareOptions({
    name: WORKER_NAME,
    modules: true,
    script,
    compatibilityDate: config.compatibilityDate,
    compatibilityFlags: config.compatibilityFlags,
    durableObjects: config.durableObjects,
    r2Buckets: config.r2Buckets,
    assets: config.assets,
    bindings: { ...config.bindings, ...secrets, ...vars },
    host: '127.0.0.1',
    port,
    // Otherwise it asks Cloudflare where this machine is.
    cf: false,
  }))
  // It would end the process at a signal, with Redis's files where they are: who starts it here ends it with `close`.
  removeAddedHandlers(keep)
  const close = async () => {
    await miniflare.dispose()
    await front.close()
    await redis.close()
  }
  try {
    const { origin } = await miniflare.ready
    return { url: origin, redis: { url: front.url, token }, miniflare, close }
  } catch (thrown) {
    await close()
    throw thrown
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

function signalHandlers(): Set<unknown> {
  return new Set(SIGNALS.flatMap((signal) => process.listeners(signal)))
}

function removeAddedHandlers(keep: ReadonlySet<unknown>): void {
  for (const signal of SIGNALS) {
    for (const handler of process.listeners(signal)) if (!keep.has(handler)) process.off(signal, handler)
  }
}

/** Made once in a process: sources do not change under a running server. */
let bundle: Promise<string> | undefined

async function bundleWorker(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shoal-worker-'))
  try {
    const { code, output } = await run('wrangler', ['deploy', '--dry-run', '--outdir', folder], 'capture', {
      WRANGLER_SEND_METRICS: 'false',
      CI: '1',
    })
    if (code !== 0) throw new Error(`Cannot build the Worker: wrangler must exit with 0, got ${code}:\n${output}`)
    return await readFile(join(folder, 'cloudflare.js'), 'utf8')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
