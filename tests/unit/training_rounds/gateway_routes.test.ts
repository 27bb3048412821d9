import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningGateway, startNodeGateway } from '../../../functions/gateway/node.ts'
import { sha256Hex } from '../../../shared/base/bytes.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { temporaryFolder } from '../../fixtures/process.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let gateway: RunningGateway
beforeAll(async () => {
  folder = await temporaryFolder()
  gateway = await startNodeGateway({ host: '127.0.0.1', port: 0, dataDir: folder.path, env: {}, log: silentLog })
})
afterAll(async () => {
  await gateway.close()
  await folder[Symbol.asyncDispose]()
})

const put = (sha256: string, body: Uint8Array<ArrayBuffer>) =>
  fetch(`${gateway.url}/blobs/${sha256}`, { method: 'PUT', body })

describe('the gateway, for training', () => {
  it('keeps a blob under its hash, and nothing under another', async () => {
    const bytes = new Uint8Array([1, 2, 3])
    const sha256 = await sha256Hex(bytes)
    expect((await put(sha256, bytes)).status).toBe(201)
    expect((await put(sha256, bytes)).status).toBe(200)
    const back = await fetch(`${gateway.url}/blobs/${sha256}`)
    expect(new Uint8Array(await back.arrayBuffer())).toEqual(bytes)
    const refused = await put('0'.repeat(64), bytes)
    expect(refused.status).toBe(400)
    expect((await refused.json() as { detail: string }).detail).toContain('its SHA-256 must be 000')
    expect((await fetch(`${gateway.url}/blobs/${'0'.repeat(64)}`)).status).toBe(404)
    expect((await put('../../keys', bytes)).status).toBeGreaterThanOrEqual(400)
  })

  it('keeps checkpoints apart from other blobs, replaces and removes them', async () => {
    const url = `${gateway.url}/checkpoints/run.1/20-7.safetensors`
    expect((await fetch(url)).status).toBe(404)
    for (const body of [new Uint8Array([1, 2]), new Uint8Array([3])]) {
      expect((await fetch(url, { method: 'PUT', body })).status).toBe(201)
      expect(new Uint8Array(await (await fetch(url)).arrayBuffer())).toEqual(body)
    }
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(204)
    expect((await fetch(url)).status).toBe(404)
    const outside = `${gateway.url}/checkpoints/..%2Fblobs/x`
    expect((await fetch(outside, { method: 'PUT', body: new Uint8Array(1) })).status).toBe(400)
  })

  it('calls a relay for training alone, and says when there is none of that name', async () => {
    const call = (path: string) =>
      fetch(`${gateway.url}/relays/${path}`, {
        method: 'POST',
        body: '{}',
        headers: { 'content-type': 'application/json' },
      })
    expect((await call('relay_x/rpc/shoal.Training/reduce')).status).toBe(503)
    expect((await call('relay_x/rpc/shoal.Pool/run')).status).toBe(404)
    expect((await fetch(`${gateway.url}/relays/relay_x`)).status).toBe(404)
  })
})
