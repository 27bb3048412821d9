import { expect, it } from 'vitest'
import { sha256Hex } from '../../shared/base/bytes.ts'
import { newId } from '../../shared/base/random.ts'
import { encodeBundle } from '../../shared/models/bundle.ts'
import { identityModel } from '../fixtures/models.ts'
import { eventually } from './expectations.ts'
import { ask } from './gateway_http.ts'
import type { Keys } from './gateway_suite.ts'

/** Who asks for what is another's, on a gateway with keys: by the numbers of the same list as gateway_abuse_cases.ts. */
export function abuseKeyCases(at: () => string, keys: () => Keys): void {
  /** Routes that need no key: probes, pages, and what is said of itself. */
  const OPEN = /^\/(livez|readyz|v2(\/health\/(live|ready))?|openapi\.json|join|assets\/.*|relay\/connect)?$/

  it('12, 15: every route that is described asks for a key, and is no volunteer’s but for enrolment and blobs', async () => {
    const { json } = await ask(at(), 'GET', '/openapi.json')
    let seen = 0
    for (const [path, operations] of Object.entries<object>(json.paths)) {
      const target = path.replaceAll(/\{[^}]+\}/g, 'none')
      if (OPEN.test(path)) continue
      for (const method of Object.keys(operations).filter((name) => /^(get|put|post|patch|delete)$/.test(name))) {
        const call = (headers: Record<string, string>) => ask(at(), method.toUpperCase(), target, { headers })
        expect([method, path, (await call({})).status]).toEqual([method, path, 401])
        const open = path === '/workers/enrol' || (path === '/blobs/{sha256}' && method === 'get')
        const { status } = await call(keys().volunteer)
        expect([method, path, status === 403]).toEqual([method, path, !open])
        seen++
      }
    }
    expect(seen).toBeGreaterThan(30)
  })

  it('16: nobody sees another’s dead jobs, nor runs them again', async () => {
    const job = { service: 'jobs.Nobody', method: 'nothing', params: {}, options: { maxAttempts: 1 } }
    const { json: { id } } = await ask(at(), 'POST', '/jobs', { json: job, headers: keys().call })
    const deadOf = async (headers: Record<string, string>) =>
      (await ask(at(), 'GET', '/jobs?state=dead', { headers })).json.jobs.map((one: { id: string }) => one.id)
    await eventually(async () => (await deadOf(keys().call)).includes(id))
    expect(await deadOf(keys().admin)).not.toContain(id)
    const again = await ask(at(), 'POST', `/jobs/${id}/retry`, { headers: keys().admin })
    const none = await ask(at(), 'POST', `/jobs/${newId('job')}/retry`, { headers: keys().admin })
    // In the same words as for a job that there is not.
    expect([again.status, again.json.title]).toEqual([none.status, none.json.title])
    expect((await ask(at(), 'GET', `/jobs/${id}`, { headers: keys().call })).json.state).toBe('dead')
  })

  it('16: volunteers get the pieces of public models alone', async () => {
    const bytes = identityModel('float32', [1, 7])
    const sha256 = await sha256Hex(bytes)
    const headers = keys().admin
    const statusOf = async (id: string) =>
      (await ask(at(), 'GET', `/blobs/${id}`, { headers: keys().volunteer })).status
    await ask(at(), 'PUT', `/blobs/${sha256}`, { body: bytes, headers })
    expect(await statusOf(sha256)).toBe(404)
    const bundle = encodeBundle({
      model: { path: 'm.onnx', bytes: bytes.length, pieces: [{ sha256, bytes: bytes.length }] },
      external: [],
    })
    const pushed = await ask(at(), 'PUT', '/models/in-private/versions/1', { body: bundle, headers })
    expect(pushed.status).toBe(200)
    expect([await statusOf(sha256), await statusOf(pushed.json.sha256)]).toEqual([404, 404])
    const json = { visibility: 'public' }
    await ask(at(), 'PATCH', '/models/in-private/versions/1', { json, headers })
    expect([await statusOf(sha256), await statusOf(pushed.json.sha256)]).toEqual([200, 200])
  })
}
