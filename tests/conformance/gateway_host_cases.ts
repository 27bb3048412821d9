import { join } from 'node:path'
import { expect, it } from 'vitest'
import { startHostWorker } from '../../functions/worker/host_worker.ts'
import { type HttpHost, startHttpHost } from '../../functions/worker/http_host.ts'
import { silentLog } from '../../shared/base/log.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { affine, affineModel } from '../fixtures/models.ts'
import { startCli, temporaryFolder } from '../fixtures/process.ts'
import { eventually } from './expectations.ts'
import { ask, bearer, inferenceAt } from './gateway_http.ts'
import type { Keys } from './gateway_suite.ts'
import { handshake } from './socket_handshake.ts'

interface Listed {
  id: string
  name: string
  relay: string
  device: string
}

type Headers = Record<string, string>

const WEIGHTS = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }

const listedAt = async (url: string, headers: Headers = {}): Promise<Listed[]> =>
  (await ask(url, 'GET', '/workers', { headers })).json.workers

/** A host with one WebAssembly worker, in this process. */
async function openHost(gateway: string, name: string, headers: Headers = {}): Promise<HttpHost & AsyncDisposable> {
  const folder = await temporaryFolder()
  const host = await startHttpHost({ host: '127.0.0.1', port: 0, gateway, headers, log: silentLog })
  const cacheDir = join(folder.path, 'cache')
  const worker = await startHostWorker({ gateway, headers, enrol: host.enrol, name, cacheDir, log: silentLog })
  return {
    ...host,
    async [Symbol.asyncDispose]() {
      await worker.stop()
      await host.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** Hosts with an address of their own, beside a relay that has a worker. */
export function hostCases(at: () => string, { keepsSockets }: { keepsSockets: boolean }): void {
  const answeredBy = async (row: readonly number[]): Promise<string | undefined> => {
    let metadata: Record<string, string> = {}
    const inputs = { x: Tensor.from('float32', [1, 3], row) }
    const { outputs } = await inferenceAt(at()).infer({ model: 'on-hosts', inputs }, {
      timeoutMs: 20_000,
      onMetadata: (given) => metadata = given,
    })
    expect([...outputs.y?.data as Float32Array]).toEqual(affine(WEIGHTS, row))
    return metadata['shoal-worker']
  }

  it('routes calls to relays and hosts alike, lists their workers, and forgets a host at its leave', async () => {
    await ask(at(), 'PUT', '/models/on-hosts/versions/1', { body: affineModel(WEIGHTS) })
    let id: string | undefined
    {
      await using host = await openHost(at(), 'hosted')
      await eventually(async () => (await listedAt(at())).some(({ name }) => name === 'hosted'))
      const listed = await listedAt(at())
      const hosted = listed.find(({ name }) => name === 'hosted')
      id = hosted?.id
      expect(hosted).toMatchObject({ device: 'wasm', relay: host.relay.name })
      expect(host.relay.name).toMatch(/^host_/)
      const seen = new Set<string | undefined>()
      await eventually(async () => {
        const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => answeredBy([i, -i / 8, i % 7])))
        for (const worker of answers) seen.add(worker)
        return seen.has(id) && seen.size > 1
      })
      if (keepsSockets) await eventually(() => Promise.resolve(host.sockets.size > 0))
      else expect(host.sockets.size).toBe(0)
      const { json } = await ask(at(), 'GET', `/registry/services/${Pool.name}`)
      const registered = json.instances.find((one: { id: string }) => one.id === host.relay.name)
      expect(registered.address).toEqual({ kind: 'url', url: host.url, sockets: true })
      expect(JSON.stringify(json)).not.toContain('token')
    }
    await eventually(async () => !(await listedAt(at())).some((worker) => worker.id === id))
    expect(await answeredBy([1, 2, 3])).not.toBe(id)
  })

  it('serves nobody but gateways', async () => {
    await using host = await openHost(at(), 'guarded')
    await eventually(async () => (await listedAt(at())).some(({ name }) => name === 'guarded'))
    for (const authorization of [undefined, 'Bearer ', `Bearer ${'0'.repeat(64)}`]) {
      const headers = { ...(authorization !== undefined && { authorization }) }
      const { status, json } = await ask(host.url, 'POST', '/rpc/shoal.Pool/workers', { json: {}, headers })
      expect([status, json.code]).toEqual([401, 'unauthenticated'])
      expect(await handshake(`${host.url.replace('http', 'ws')}/rpc`, ['shoal.v1'], headers)).toBe(401)
    }
    expect((await ask(host.url, 'GET', '/livez')).status).toBe(200)
    expect((await ask(host.url, 'GET', '/readyz')).status).toBe(200)
    expect((await ask(host.url, 'GET', '/metrics')).status).toBe(404)
  })

  /** A host in a process of its own, and its worker's id. */
  const startHost = async (name: string, home: string) => {
    const args = ['worker', '--http', '--device', 'wasm', '--name', name, '--gateway', at()]
    const running = startCli(args, { env: { HOME: home } })
    await running.wrote(new RegExp(`^worker ${name}: registered http:\\S+ at `, 'm'))
    await eventually(async () => (await listedAt(at())).some((worker) => worker.name === name))
    return { running, id: (await listedAt(at())).find((worker) => worker.name === name)?.id }
  }

  it('loses no call when a host is killed', async () => {
    await using folder = await temporaryFolder()
    const { running, id } = await startHost('doomed', folder.path)
    const seen = new Set<string | undefined>()
    // As fast as they are answered: the dead host stays listed for seconds, and a connection refused costs no retry.
    for (let after = 0, calls = 0; after < 20; calls++) {
      const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => answeredBy([calls, i, -calls])))
      for (const worker of answers) seen.add(worker)
      if (!seen.has(id)) continue
      // Not before it has answered. The next calls meet a listed host that is dead.
      running.signal('SIGKILL')
      after++
    }
    expect((await running.ended).signal).toBe('SIGKILL')
  }, 120_000)

  it('loses no call when a host is asked to leave, however many come', async () => {
    await using folder = await temporaryFolder()
    const { running, id } = await startHost('leaving', folder.path)
    const seen = new Set<string | undefined>()
    let [isAsked, isOver] = [false, false]
    void running.ended.then(() => isOver = true)
    await Promise.all(Array.from({ length: 4 }, async (_, caller) => {
      for (let calls = 0; !isOver; calls++) {
        seen.add(await answeredBy([calls, caller, -calls]))
        if (isAsked || !seen.has(id)) continue
        isAsked = true
        running.signal('SIGTERM')
      }
    }))
    const { code, stderr } = await running.ended
    expect([code, stderr]).toEqual([0, ''])
  })
}

/**
 * Who may register a host, where keys are needed.
 * @param hosts two keys that may
 */
export function hostKeyCases(at: () => string, keys: () => Keys, hosts: () => readonly Headers[]): void {
  const record = {
    id: 'host_made_up',
    service: Pool.name,
    version: Pool.version,
    url: 'http://127.0.0.1:9',
    incarnation: 'one',
  }

  it('takes hosts from keys that may both register and work, since they are given inputs', async () => {
    for (const scope of ['call', 'worker', 'service'] as const) {
      const answer = await ask(at(), 'POST', '/registry/instances', { json: record, headers: keys()[scope] })
      expect([scope, answer.status]).toEqual([scope, 403])
    }
    const leave = `/registry/instances/host_made_up?service=${Pool.name}&incarnation=one`
    expect((await ask(at(), 'DELETE', leave, { headers: keys().service })).status).toBe(403)
    const taken = await ask(at(), 'POST', '/registry/instances', { json: record, headers: keys().admin })
    expect([taken.status, taken.json]).toEqual([201, {
      id: 'host_made_up',
      ttlMs: expect.any(Number),
      token: expect.stringMatching(/^[0-9a-f]{64}$/),
    }])
    expect((await ask(at(), 'DELETE', leave, { headers: keys().admin })).status).toBe(204)
  })

  it('tells nobody another’s token, whose address they may register', async () => {
    const [owner = {}, thief = {}] = hosts()
    await using host = await openHost(at(), 'owned', owner)
    const headers = keys().call
    await eventually(async () => (await listedAt(at(), headers)).some(({ name }) => name === 'owned'))
    const stolen = { ...record, id: 'host_thief', url: host.url }
    const { status, json: { token } } = await ask(at(), 'POST', '/registry/instances', { json: stolen, headers: thief })
    expect([status, token]).toEqual([201, expect.stringMatching(/^[0-9a-f]{64}$/)])
    const call = await ask(host.url, 'POST', '/rpc/shoal.Pool/workers', { json: {}, headers: bearer(token) })
    expect([call.status, call.json.code]).toEqual([401, 'unauthenticated'])
    // Calls by that address are the gateway's to lose, not a caller's.
    await ask(at(), 'PUT', '/models/owned/versions/1', { body: affineModel(WEIGHTS), headers: keys().admin })
    const inputs = { x: Tensor.from('float32', [1, 3], [1, 2, 3]) }
    for (let i = 0; i < 20; i++) {
      const { outputs } = await inferenceAt(at(), { headers }).infer({ model: 'owned', inputs }, { timeoutMs: 20_000 })
      expect([...outputs.y?.data as Float32Array]).toEqual(affine(WEIGHTS, [1, 2, 3]))
    }
    // Nor can they speak for what is another's: neither replace it nor see it off.
    const { name } = host.relay
    const taken = await ask(at(), 'POST', '/registry/instances', { json: { ...stolen, id: name }, headers: thief })
    expect([taken.status, taken.json.title]).toEqual([403, 'permission_denied'])
    const listed = await ask(at(), 'GET', `/registry/services/${Pool.name}`, { headers })
    const { incarnation } = listed.json.instances.find(({ id }: { id: string }) => id === name)
    const goodbye = `/registry/instances/${name}?service=${Pool.name}&incarnation=${incarnation}`
    expect((await ask(at(), 'DELETE', goodbye, { headers: thief })).status).toBe(403)
    expect(listed.text).not.toMatch(/owner|token/)
    const own = `/registry/instances/host_thief?service=${Pool.name}&incarnation=one`
    expect((await ask(at(), 'DELETE', own, { headers: thief })).status).toBe(204)
  })

  it('gives each key a token of its own for a function’s sockets, whoever’s the address is', async () => {
    const function_ = { ...record, id: 'socketed', service: 'demo.Socketed', version: '1.0.0', sockets: true }
    const tokenOf = async (headers: Headers) =>
      (await ask(at(), 'POST', '/registry/instances', { json: function_, headers })).json.token
    const askers = [keys().service, ...hosts(), keys().admin]
    const tokens: string[] = []
    for (const headers of askers) tokens.push(await tokenOf(headers))
    expect(new Set(tokens).size).toBe(askers.length)
    expect(tokens).toEqual(askers.map(() => expect.stringMatching(/^[0-9a-f]{64}$/)))
    expect(await tokenOf(keys().service)).toBe(tokens[0])
    const leave = '/registry/instances/socketed?service=demo.Socketed&incarnation=one'
    expect((await ask(at(), 'DELETE', leave, { headers: keys().service })).status).toBe(204)
  })

  it('registers no other service of Shoal’s own', async () => {
    for (const service of ['shoal.Inference', 'shoal.Worker', 'shoal.Training', 'shoal.Elsewhere']) {
      const json = { ...record, service }
      const answer = await ask(at(), 'POST', '/registry/instances', { json, headers: keys().admin })
      expect([answer.status, answer.json.detail]).toEqual([400, expect.stringContaining('reserved')])
    }
  })
}
