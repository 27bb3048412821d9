import { beforeAll, expect, it } from 'vitest'
import { SCOPES } from '../../shared/stores/keys.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { identityModel } from '../fixtures/models.ts'
import { refusal } from './expectations.ts'
import { joinHeldWorker } from './gateway_held_worker.ts'
import { ask, type AskOptions, inferenceAt } from './gateway_http.ts'
import type { Keys } from './gateway_suite.ts'

type Scope = (typeof SCOPES)[number]

/** What a route needs: a scope, the status it gives to whoever has it, and what to send. */
interface Guarded {
  scope: Scope
  method: string
  path: string
  status: number
  options?: AskOptions
  /** Volunteers' keys are taken as well. */
  volunteers?: boolean
}

const GUARDED: readonly Guarded[] = [
  { scope: 'call', method: 'GET', path: '/models', status: 200 },
  { scope: 'call', method: 'GET', path: '/workers', status: 200 },
  { scope: 'call', method: 'GET', path: '/metrics', status: 200 },
  { scope: 'call', method: 'GET', path: '/training', status: 200 },
  { scope: 'call', method: 'GET', path: '/registry/services', status: 200 },
  { scope: 'call', method: 'GET', path: '/registry/services/demo.None', status: 404 },
  { scope: 'call', method: 'GET', path: '/v2/models/keyed', status: 200 },
  { scope: 'call', method: 'GET', path: '/v2/models/keyed/ready', status: 200 },
  { scope: 'call', method: 'GET', path: '/v2/models/keyed/versions/1', status: 200 },
  { scope: 'call', method: 'POST', path: '/v2/models/keyed/infer', status: 400, options: { json: {} } },
  { scope: 'call', method: 'POST', path: '/v2/models/keyed/versions/1/infer', status: 400, options: { json: {} } },
  { scope: 'call', method: 'POST', path: '/v2/repository/index', status: 200 },
  { scope: 'call', method: 'POST', path: '/rpc/shoal.Inference/infer', status: 400, options: { json: {} } },
  { scope: 'call', method: 'POST', path: '/rpc/demo.None/nothing', status: 404, options: { json: {} } },
  { scope: 'call', method: 'POST', path: '/jobs', status: 400, options: { json: {} } },
  { scope: 'call', method: 'GET', path: '/jobs?state=dead', status: 200 },
  { scope: 'call', method: 'GET', path: '/jobs/none', status: 404 },
  { scope: 'call', method: 'GET', path: '/jobs/none/events', status: 404 },
  { scope: 'call', method: 'DELETE', path: '/jobs/none', status: 404 },
  { scope: 'call', method: 'POST', path: '/jobs/none/retry', status: 404 },
  { scope: 'worker', method: 'POST', path: '/workers/enrol', status: 200, volunteers: true },
  { scope: 'worker', method: 'GET', path: `/blobs/${'0'.repeat(64)}`, status: 404, volunteers: true },
  { scope: 'service', method: 'POST', path: '/registry/instances', status: 400, options: { json: {} } },
  { scope: 'service', method: 'PUT', path: '/registry/instances/a/lease', status: 400, options: { json: {} } },
  { scope: 'service', method: 'DELETE', path: '/registry/instances/a', status: 400 },
  { scope: 'admin', method: 'PUT', path: '/models/keyed/versions/x', status: 400, options: { body: 'x' } },
  { scope: 'admin', method: 'PATCH', path: '/models/none/versions/1', status: 404, options: { json: {} } },
  { scope: 'admin', method: 'DELETE', path: '/models/none', status: 404 },
  { scope: 'admin', method: 'DELETE', path: '/models/none/versions/1', status: 404 },
  { scope: 'admin', method: 'PUT', path: '/models/none/aliases/a', status: 404, options: { json: { version: '1' } } },
  { scope: 'admin', method: 'DELETE', path: '/models/none/aliases/a', status: 204 },
  { scope: 'admin', method: 'PUT', path: '/training/none', status: 400, options: { json: {} } },
  { scope: 'admin', method: 'POST', path: '/operations/cpu-profile?seconds=0', status: 400 },
]

export function keyCases(at: () => string, keys: () => Keys): void {
  beforeAll(async () => {
    const pushed = await ask(at(), 'PUT', '/models/keyed/versions/1', {
      body: identityModel('float32'),
      headers: keys().admin,
    })
    expect(pushed.status).toBe(200)
  })

  const send = ({ method, path, options }: Guarded, headers: Record<string, string>) =>
    ask(at(), method, path, { ...options, headers })

  for (const guarded of GUARDED) {
    const { scope, method, path, status, volunteers } = guarded
    it(`admits ${scope} and admin to ${method} ${path}, and nobody else`, async () => {
      const nobody = await send(guarded, {})
      expect(nobody.status).toBe(401)
      expect(nobody.headers.get('www-authenticate')).toBe('Bearer realm="shoal"')
      for (const other of SCOPES) {
        const answer = await send(guarded, keys()[other])
        const taken = other === scope || other === 'admin' || (volunteers && other === 'volunteer')
        const expected = taken ? status : 403
        expect([other, answer.status]).toEqual([other, expected])
        if (expected === 403) expect(answer.text).toContain(`scope \\"${scope}\\"`)
      }
    })
  }

  it('admits nobody with a key that is not one', async () => {
    const { authorization } = keys().call
    const key = authorization.slice('Bearer '.length)
    const [, id = '', secret = ''] = key.split('_')
    const wrong = [
      '',
      'Bearer',
      'Bearer garbage',
      `Basic ${Buffer.from(`shoal:${key}`).toString('base64')}`,
      key,
      `Token ${key}`,
      `Bearer shoal_${id}_${'0'.repeat(64)}`,
      `Bearer shoal_${'0'.repeat(12)}_${secret}`,
      `Bearer ${key}0`,
      `Bearer ${key.toUpperCase()}`,
      `Bearer ${key}, Bearer ${key}`,
      `Bearer shoal___proto___${secret}`,
    ]
    for (const authorization of wrong) {
      const { status, headers, text } = await ask(at(), 'GET', '/workers', { headers: { authorization } })
      expect([authorization, status]).toEqual([authorization, 401])
      expect(headers.get('www-authenticate')).toBe('Bearer realm="shoal"')
      expect(text).not.toContain(secret)
    }
    // The scheme's name is case-insensitive (RFC 9110), the key is not.
    const { status } = await ask(at(), 'GET', '/workers', { headers: { authorization: `bearer ${key}` } })
    expect(status).toBe(200)
  })

  it('takes no key from a URL, not even a right one', async () => {
    const key = keys().admin.authorization.slice('Bearer '.length)
    for (const name of ['key', 'token', 'access_token']) {
      const { status, text } = await ask(at(), 'GET', `/workers?${name}=${key}`, { headers: keys().admin })
      expect(status).toBe(400)
      expect(text).not.toContain(key)
    }
  })

  it('refuses in the words of each face', async () => {
    const v2 = await ask(at(), 'POST', '/v2/models/keyed/infer', { json: {} })
    expect(v2.json).toEqual({ error: expect.stringContaining('API key') })
    const rpc = await ask(at(), 'POST', '/rpc/shoal.Inference/infer', { json: {} })
    expect(rpc.json).toEqual({ code: 'unauthenticated', message: expect.stringContaining('API key') })
    const management = await ask(at(), 'GET', '/workers')
    expect(management.json).toMatchObject({ title: 'unauthenticated', status: 401 })
    expect(management.headers.get('content-type')).toBe('application/problem+json')
  })

  it('needs no key for its probes and pages', async () => {
    for (const path of ['/livez', '/readyz', '/v2', '/v2/health/live', '/v2/health/ready']) {
      expect([path, (await ask(at(), 'GET', path)).status]).toEqual([path, 200])
    }
    for (const path of ['/', '/join']) expect((await ask(at(), 'GET', path)).status).not.toBe(401)
  })

  it('never gives an answer that one caller got to another', async () => {
    const options = encodeURIComponent(JSON.stringify({ cache: { ttlMs: 600_000, maxBytes: 100_000 } }))
    await ask(at(), 'PUT', '/models/keyed-answers/versions/1', {
      body: identityModel('float32'),
      headers: { ...keys().admin, 'shoal-options': options },
    })
    const x = { name: 'x', shape: [1, 2], datatype: 'FP32', data: [3, 4] }
    const call = async (headers: Record<string, string>) => {
      const answer = await ask(at(), 'POST', '/v2/models/keyed-answers/infer', { json: { inputs: [x] }, headers })
      expect(answer.json.outputs[0].data).toEqual([3, 4])
      return answer.headers.get('shoal-cache')
    }
    expect([await call(keys().call), await call(keys().call)]).toEqual(['miss', 'hit'])
    expect([await call(keys().admin), await call(keys().admin)]).toEqual(['miss', 'hit'])
    // By the other face too: whoever asks is told apart by the key there as well.
    const tensor = Tensor.from('float32', [1, 2], [3, 4])
    const other = await inferenceAt(at(), { headers: keys().call }).infer({
      model: 'keyed-answers',
      inputs: { x: tensor },
    })
    expect(other.outputs.y?.data).toEqual(Float32Array.of(3, 4))
  })

  it('shows volunteers public models alone, and gives them no other calls', async () => {
    const push = (name: string, body: Uint8Array<ArrayBuffer>, options: unknown) =>
      ask(at(), 'PUT', `/models/${name}/versions/1`, {
        body,
        headers: { ...keys().admin, 'shoal-options': encodeURIComponent(JSON.stringify(options)) },
      })
    const open = await push('open-to-all', identityModel('float32', [1, 3]), { visibility: 'public' })
    const closed = await push('open-to-none', identityModel('float32', [1, 4]), {})
    const blob = async ({ json }: { json: { sha256: string } }) =>
      (await ask(at(), 'GET', `/blobs/${json.sha256}`, { headers: keys().volunteer })).status
    expect([await blob(open), await blob(closed)]).toEqual([200, 404])

    const stranger = await joinHeldWorker(at(), { name: 'stranger', headers: keys().volunteer })
    const call = (model: string, values: number[]) =>
      inferenceAt(at(), { headers: keys().call }).infer({
        model,
        inputs: { x: Tensor.from('float32', [1, values.length], values) },
      })
    const closedCalls = await Promise.all(Array.from({ length: 20 }, (_, i) => call('open-to-none', [i, 0, 0, 0])))
    expect(closedCalls.map(({ outputs }) => outputs.y?.data[0])).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(stranger.waiting).toEqual([])
    // Other calls go on all the while: a gateway that is elsewhere may need a moment to see the stranger's relay.
    const openCalls = Promise.all(Array.from({ length: 20 }, (_, i) => call('open-to-all', [i, 0, 0])))
    let over = false
    const answering = openCalls.finally(() => over = true)
    let taken = 0
    while (!over) {
      const run = await Promise.race([stranger.nextRun(), answering.then(() => undefined)])
      if (!run) break
      taken++
      run.release()
    }
    expect((await openCalls).map(({ outputs }) => outputs.y?.data[0])).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(taken).toBeGreaterThan(0)
    stranger.socket.peer.control('goodbye', { reason: 'done' })
    await stranger.socket.closed
  })

  it('answers calls with a key, on a worker that joined with one', async () => {
    const x = Tensor.from('float32', [1, 2], [3, 4])
    const input = { model: 'keyed', inputs: { x } }
    const { outputs } = await inferenceAt(at(), { headers: keys().call }).infer(input)
    expect(outputs.y?.data).toEqual(Float32Array.of(3, 4))
    expect((await refusal(inferenceAt(at(), { headers: keys().worker }).infer(input))).code).toBe('permission_denied')
    expect((await refusal(inferenceAt(at()).infer(input))).code).toBe('unauthenticated')
  })
}
