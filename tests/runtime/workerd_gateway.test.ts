import { createServer, type Server } from 'node:http'
import { WebSocket } from 'ws'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type LocalWorkers, WORKER_NAME } from '../../infra/local_workers.ts'
import { SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { eventually } from '../conformance/expectations.ts'
import { enrol, greet, type HeldWorker, joinHeldWorker, socketUrl } from '../conformance/gateway_held_worker.ts'
import { ask } from '../conformance/gateway_http.ts'
import { fixedModel, identityModel } from '../fixtures/models.ts'
import { startWorkerdGateway } from './start_workerd_gateway.ts'

// What the gateway's suite (tests/conformance/gateway_workerd.test.ts) cannot ask of every runtime.

const POOL = '/registry/services/shoal.Pool'

/** Ends the life of a relay's object in memory, as sleep does ('hibernate') or a crash ('close'). */
function evict(gateway: LocalWorkers, webSockets: 'hibernate' | 'close', name = 'relay-0'): Promise<void> {
  return gateway.miniflare.unsafeEvictDurableObject(WORKER_NAME, 'Relay', { name, webSockets })
}

const pushModel = (url: string) => ask(url, 'PUT', '/models/held/versions/1', { body: fixedModel() })

function infer(url: string, mark: number, options: { signal?: AbortSignal } = {}) {
  const inputs = [{ name: 'x', shape: [2, 3], datatype: 'FP32', data: new Array(6).fill(mark) }]
  return ask(url, 'POST', '/v2/models/held/infer', { json: { inputs }, ...options })
}

async function workerIds(url: string): Promise<string[]> {
  return (await ask(url, 'GET', '/workers')).json.workers.map(({ id }: { id: string }) => id)
}

describe('a relay that sleeps', () => {
  let gateway: LocalWorkers
  let worker: HeldWorker
  beforeAll(async () => {
    gateway = await startWorkerdGateway()
    await pushModel(gateway.url)
    worker = await joinHeldWorker(gateway.url)
  })
  afterAll(() => gateway?.close())

  const lease = async () => (await ask(gateway.url, 'GET', POOL)).json.instances[0]

  it('keeps its workers and serves calls on them', async () => {
    const before = await lease()
    await evict(gateway, 'hibernate')
    expect(await workerIds(gateway.url)).toEqual([worker.id])
    const answer = infer(gateway.url, 1)
    ;(await worker.nextRun()).release()
    expect((await answer).json.outputs[0].data[0]).toBe(1)
    // The same life goes on: a new one would end calls of the old.
    expect((await lease()).incarnation).toBe(before.incarnation)
  })

  it('is woken by a call', async () => {
    await evict(gateway, 'hibernate')
    const answer = infer(gateway.url, 2)
    ;(await worker.nextRun()).release()
    expect((await answer).json.outputs[0].data[0]).toBe(2)
  })

  it('remembers the tokens it has seen', async () => {
    const { token, connect } = await enrol(gateway.url)
    const { socket } = await greet(gateway.url, connect, { token, name: 'another' }, {})
    socket.close(1000, 'done')
    await eventually(async () => (await workerIds(gateway.url)).length === 1)
    await evict(gateway, 'hibernate')
    await expect(greet(gateway.url, connect, { token })).rejects.toThrow(/closed with 1008 .*used before/)
  })

  it('tells the registry how many workers it has, by its alarm', async () => {
    const { token, connect } = await enrol(gateway.url)
    const { socket } = await greet(gateway.url, connect, { token, name: 'second' })
    await eventually(async () => (await lease()).weight === 2)
    socket.close(1000, 'done')
    await evict(gateway, 'hibernate')
    await eventually(async () => (await lease()).weight === 1)
  })

  it('carries bodies larger than a frame', async () => {
    await ask(gateway.url, 'PUT', '/models/large/versions/1', { body: identityModel('float32', [1, LARGE]) })
    const data = Array.from({ length: LARGE }, (_, i) => i % 1000)
    const answer = ask(gateway.url, 'POST', '/v2/models/large/infer', {
      json: { inputs: [{ name: 'x', shape: [1, LARGE], datatype: 'FP32', data }] },
    })
    ;(await worker.nextRun()).release()
    expect((await answer).json.outputs[0].data).toEqual(data)
  })

  it('leaves the registry with its last worker', async () => {
    await evict(gateway, 'hibernate')
    worker.socket.peer.control('goodbye', { reason: 'done' })
    expect((await worker.socket.closed).code).toBe(1000)
    await eventually(async () => (await ask(gateway.url, 'GET', POOL)).status === 404)
  })

  it('leaves the registry when it wakes without the workers it had', async () => {
    const lost = await joinHeldWorker(gateway.url)
    await evict(gateway, 'close')
    expect((await lost.socket.closed).code).not.toBe(1000)
    const answer = await infer(gateway.url, 3)
    expect([answer.status, answer.json.error]).toEqual([503, expect.stringContaining('no worker is connected')])
    await eventually(async () => (await ask(gateway.url, 'GET', POOL)).status === 404)
  })

  it('gives the call of a worker that is lost to another', async () => {
    const first = await joinHeldWorker(gateway.url, { name: 'first' })
    const answer = infer(gateway.url, 4)
    await first.nextRun()
    const second = await joinHeldWorker(gateway.url, { name: 'second' })
    first.socket.close(4000, 'lost')
    ;(await second.nextRun()).release()
    expect((await answer).json.outputs[0].data[0]).toBe(4)
    second.socket.close(1000, 'done')
  })
})

/** Elements of a tensor of 3 MB. */
const LARGE = 750_000

describe('reads that requests share', () => {
  let gateway: LocalWorkers
  let store: SlowStore
  beforeAll(async () => {
    store = await startSlowStore()
    gateway = await startWorkerdGateway([], { UPSTASH_REDIS_REST_URL: store.url })
    store.forwardTo(gateway.redis.url)
  })
  afterAll(async () => {
    await gateway?.close()
    await store?.close()
  })

  it('go on when the caller who began one has hung up', async () => {
    const call = (signal?: AbortSignal) => ask(gateway.url, 'POST', '/rpc/demo.Unheard/of', { json: {}, signal })
    const asked = store.hold()
    const leaving = new AbortController()
    const first = call(leaving.signal).catch((error) => error.name)
    await asked
    const second = call()
    leaving.abort()
    expect(await first).toBe('AbortError')
    // Long enough for the Worker to hear of it.
    await new Promise((resolve) => setTimeout(resolve, 200))
    store.release()
    expect((await second).status).toBe(404)
    expect((await call()).status).toBe(404)
  })

  it('go on when the caller who began one was answered without it', async () => {
    await pushModel(gateway.url)
    const worker = await joinHeldWorker(gateway.url)
    const answered = async (mark: number) => {
      const answer = infer(gateway.url, mark)
      ;(await worker.nextRun()).release()
      expect((await answer).status).toBe(200)
    }
    // Calls are answered from the table while one of them has it refreshed; were that lost, nobody would ask again.
    for (let refreshes = 0; refreshes < 2; refreshes++) {
      const asked = store.hold()
      let waits = false
      void asked.then(() => waits = true)
      await eventually(async () => {
        await answered(refreshes)
        return waits
      })
      await answered(9)
      store.release()
    }
    worker.socket.close(1000, 'done')
  })
})

describe('a deployment', () => {
  it('without keys says what is missing, and serves nothing that is guarded', async () => {
    const gateway = await startWorkerdGateway([], { SHOAL_OPEN: '' })
    try {
      for (const [method, path] of [['GET', '/models'], ['GET', '/workers'], ['POST', '/workers/enrol']] as const) {
        const { status, text } = await ask(gateway.url, method, path)
        expect([path, status, text]).toEqual([path, 503, expect.stringContaining('SHOAL_KEYS must be set')])
      }
      expect((await ask(gateway.url, 'GET', '/livez')).status).toBe(200)
    } finally {
      await gateway.close()
    }
  })

  it('isolates its pages and what they load', async () => {
    const gateway = await startWorkerdGateway()
    try {
      const isolation = {
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringContaining("default-src 'none'"),
      }
      for (
        const [path, type] of [
          ['/', 'text/html'],
          ['/join', 'text/html'],
          ['/assets/engine_worker.js', 'text/javascript'],
          ['/assets/ort/ort-wasm-simd-threaded.wasm', 'application/wasm'],
        ] as const
      ) {
        const { status, headers } = await ask(gateway.url, 'GET', path)
        expect([path, status, Object.fromEntries(headers)]).toEqual([
          path,
          200,
          expect.objectContaining({ ...isolation, 'content-type': expect.stringContaining(type) }),
        ])
      }
      for (const path of ['/assets/none.js', '/_headers', '/.assetsignore']) {
        expect([path, (await ask(gateway.url, 'GET', path)).status]).toEqual([path, 404])
      }
    } finally {
      await gateway.close()
    }
  })

  it('gives each new worker to the relay that has the fewest, and opens no relay of another name', async () => {
    const gateway = await startWorkerdGateway([], { RELAYS: '2' })
    try {
      await joinHeldWorker(gateway.url, { name: 'first' })
      const { json } = await ask(gateway.url, 'GET', '/workers')
      const other = json.workers[0].relay === 'relay-0' ? 'relay-1' : 'relay-0'
      for (let i = 0; i < 5; i++) expect((await enrol(gateway.url)).relay).toBe(other)
      for (const relay of ['relay-2', 'relay-00', 'x']) {
        const socket = new WebSocket(socketUrl(gateway.url, `/relay/connect?relay=${relay}`), SUBPROTOCOL)
        const refused = await new Promise<number | undefined>((resolve) => {
          socket.on('unexpected-response', (_, response) => resolve(response.statusCode))
          socket.on('error', () => {})
        })
        expect([relay, refused]).toEqual([relay, 404])
      }
      // A token opens its own relay alone.
      const { token } = await enrol(gateway.url)
      const elsewhere = `/relay/connect?relay=${json.workers[0].relay}`
      await expect(greet(gateway.url, elsewhere, { token })).rejects.toThrow(/closed with 1008/)
    } finally {
      await gateway.close()
    }
  })
})

interface SlowStore {
  url: string
  forwardTo(url: string): void
  /** Keeps reads waiting from now on. Resolves when there is one. */
  hold(): Promise<void>
  release(): void
  close(): Promise<void>
}

/** Redis over REST, whose answers a test may hold back. */
async function startSlowStore(): Promise<SlowStore> {
  let target = ''
  let gate: Promise<void> | undefined
  let [release, asked] = [() => {}, () => {}]
  const server: Server = createServer(async (request, response) => {
    const chunks: Uint8Array[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    // A relay's beats go through: they are not what is shared.
    if (!body.includes(':lives')) {
      asked()
      await gate
    }
    const { authorization = '', 'content-type': type = 'application/json' } = request.headers
    const answer = await fetch(target + request.url, {
      method: 'POST',
      headers: { authorization, 'content-type': type },
      body,
    })
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (!address || typeof address !== 'object') throw new Error('Cannot start the store: it must listen on a port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    forwardTo: (url) => void (target = url),
    hold() {
      gate = new Promise((resolve) => release = resolve)
      return new Promise((resolve) => asked = resolve)
    },
    release: () => release(),
    async close() {
      release()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
