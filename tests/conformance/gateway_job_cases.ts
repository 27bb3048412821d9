import { beforeAll, expect, it } from 'vitest'
import { LIMITS } from '../../shared/base/limits.ts'
import { newId } from '../../shared/base/random.ts'
import { jobs } from '../../shared/jobs/jobs_client.ts'
import { encode } from '../../shared/wire/codec.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { affine, affineModel } from '../fixtures/models.ts'
import { eventually, refusal } from './expectations.ts'
import { Echo, startEcho } from './gateway_echo.ts'
import { ask } from './gateway_http.ts'
import type { Keys } from './gateway_suite.ts'

const WEIGHTS = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }
const ROW = [1, 2, 3]

/** Jobs, with a worker that computes and functions that are registered by the case. */
export function jobCases(at: () => string): void {
  const client = () => jobs({ gateway: at() })
  const inference = (row: readonly number[] = ROW) => ({
    model: 'for-jobs',
    inputs: { x: Tensor.from('float32', [1, 3], row) },
  })
  const yOf = (result: unknown) => (result as { outputs: { y: Tensor } }).outputs.y
  const post = (json: unknown, headers: Record<string, string> = {}) => ask(at(), 'POST', '/jobs', { json, headers })

  beforeAll(async () => {
    await ask(at(), 'PUT', '/models/for-jobs/versions/1', { body: affineModel(WEIGHTS) })
  })

  it('runs a model for a job in JSON, and shows its result', async () => {
    const json = { model: 'for-jobs', inputs: { x: { $tensor: 'float32', shape: [1, 3], data: ROW } } }
    const { status, headers, json: { id, state } } = await post(json)
    expect([status, state, headers.get('location')]).toEqual([202, 'queued', `/jobs/${id}`])
    await eventually(async () => (await ask(at(), 'GET', `/jobs/${id}`)).json.state === 'done')
    expect((await ask(at(), 'GET', `/jobs/${id}`)).json).toMatchObject({
      id,
      service: 'shoal.Inference',
      method: 'infer',
      attempts: 1,
      failures: 0,
      result: { model: 'for-jobs', version: '1', outputs: { y: { shape: [1, 2], data: affine(WEIGHTS, ROW) } } },
    })
  })

  it('takes tensors in msgpack and gives them back', async () => {
    const id = await client().submit(inference(), { idempotencyKey: newId('key') })
    expect([...yOf(await client().wait(id)).data as Float32Array]).toEqual(affine(WEIGHTS, ROW))
  })

  it('tells what happens to a job as it happens', async () => {
    const id = await client().submit(inference())
    const seen: string[] = []
    for await (const { event } of client().events(id)) seen.push(event)
    expect(seen.at(-1)).toBe('done')
    expect(['queued', 'running', 'done']).toEqual(expect.arrayContaining(seen.filter((event) => event !== 'progress')))
  })

  it('takes thousands at once, all or none, and does each', async () => {
    const rows = Array.from({ length: 2000 }, (_, i) => [i, 0, 0])
    await expect(client().submitAll([...rows.map(inference), { model: '', inputs: {} }])).rejects.toThrow(
      /at 2000, at "model/,
    )
    const ids = await client().submitAll(rows.map(inference))
    expect([ids.length, new Set(ids).size]).toEqual([2000, 2000])
    await eventually(async () => {
      const states = await Promise.all(ids.slice(-20).map(async (id) => (await client().get(id)).state))
      return states.every((state) => state === 'done')
    })
    for (const i of [0, 999, 1999]) {
      const y = yOf(await client().wait(ids[i] ?? ''))
      expect([...y.data as Float32Array]).toEqual(affine(WEIGHTS, [i, 0, 0]))
    }
  }, 120_000)

  it('answers the same Idempotency-Key with the same job, and another payload with 422', async () => {
    const headers = { 'idempotency-key': `"${newId('key')}"` }
    const json = { model: 'for-jobs', inputs: { x: { $tensor: 'float32', shape: [1, 3], data: ROW } } }
    const [first, second] = await Promise.all([post(json, headers), post(json, headers)])
    expect(second.json.id).toBe(first.json.id)
    expect([first.status, second.status].sort()).toEqual([200, 202])
    await client().wait(first.json.id)
    const replay = await post(json, headers)
    expect([replay.status, replay.headers.get('idempotency-replayed')]).toEqual([200, 'true'])
    expect(replay.json).toMatchObject({ id: first.json.id, state: 'done' })
    const other = await post({ ...json, options: { priority: 'high' } }, headers)
    expect([other.status, other.headers.get('content-type')]).toEqual([422, 'application/problem+json'])
  })

  it('calls a function, tells it which job it is, and tries again what fails', async () => {
    await using echo = await startEcho('jobs.Echo')
    await ask(at(), 'POST', '/registry/instances', { json: echo.record })
    const client = () => jobs({ gateway: at(), codec: 'json' })
    const id = await client().call({ ...Echo, name: 'jobs.Echo' }, 'echo', { text: 'hi' })
    const result = await client().wait(id) as { text: string; headers: Record<string, string> }
    expect(result.text).toBe('hi')
    expect(result.headers['x-idempotency-key']).toBe(id)

    const before = echo.calls
    const job = { service: 'jobs.Echo', method: 'crash', params: {}, options: { maxAttempts: 2 } }
    const crashing = await client().submit(job)
    expect((await refusal(client().wait(crashing))).code).toBe('unknown')
    expect(echo.calls - before).toBe(2)
    expect((await client().dead()).find(({ id }) => id === crashing)).toMatchObject({
      state: 'dead',
      failures: 2,
      error: { code: 'unknown' },
    })
    // What could only fail again is not tried again.
    const refused = await client().submit({ service: 'jobs.Echo', method: 'refuse', params: {} })
    expect((await refusal(client().wait(refused))).message).toBe('Cannot echo twice')
    expect(echo.calls - before).toBe(3)
    expect(['queued', 'running']).toContain((await client().retry(refused)).state)
    expect((await refusal(client().wait(refused))).code).toBe('already_exists')
    expect(echo.calls - before).toBe(4)
    expect((await refusal(client().retry(id))).code).toBe('failed_precondition')
  })

  it('keeps long payloads and long results', async () => {
    await using echo = await startEcho('jobs.LongEcho')
    await ask(at(), 'POST', '/registry/instances', { json: echo.record })
    const client = () => jobs({ gateway: at(), codec: 'json' })
    const text = '海\n'.repeat(LIMITS.maxInlineJobBytes / 2)
    const id = await client().submit({ service: 'jobs.LongEcho', method: 'echo', params: { text } })
    expect((await client().wait(id) as { text: string }).text === text).toBe(true)
  })

  it('cancels a job that waits for its next attempt', async () => {
    const id = await client().submit({ service: 'jobs.Nobody', method: 'nothing', params: {} })
    await eventually(async () => (await client().get(id)).state === 'queued' && (await client().get(id)).failures > 0)
    expect((await client().cancel(id)).state).toBe('canceled')
    expect((await refusal(client().wait(id))).code).toBe('canceled')
    expect((await ask(at(), 'GET', '/jobs?state=dead')).json).toMatchObject({
      queued: expect.any(Number),
      running: expect.any(Number),
    })
    expect((await client().cancel(id)).state).toBe('canceled')
  })

  it('refuses what it cannot take, and says why', async () => {
    const refused: [unknown, number, RegExp][] = [
      [{}, 400, /expected \{service, method, params\} or \{model, inputs\}/],
      [[], 400, /1 to 10000 may come at once, got 0/],
      [{ model: 'm', inputs: {}, options: { maxAttempts: 0 } }, 400, /maxAttempts/],
      [{ model: 'm', inputs: {}, more: 1 }, 400, /more|expected/],
      [{ service: 'shoal.Pool', method: 'run', params: {} }, 403, /between Shoal's own parts/],
      [{ service: 'shoal.Jobs', method: 'wake', params: {} }, 403, /between Shoal's own parts/],
    ]
    for (const [json, status, detail] of refused) {
      const answer = await post(json)
      expect([answer.status, answer.json.detail]).toEqual([status, expect.stringMatching(detail)])
    }
    const text = await ask(at(), 'POST', '/jobs', { body: 'a', headers: { 'content-type': 'text/plain' } })
    expect(text.status).toBe(415)
    const lines = await ask(at(), 'POST', '/jobs', {
      body: '{}\n'.repeat(LIMITS.maxJobBatch + 1),
      headers: { 'content-type': 'application/x-ndjson' },
    })
    expect([lines.status, lines.json.detail]).toEqual([400, expect.stringContaining('got 10001')])
    const bomb = encode(Array.from({ length: 3 }, () => ({})))
    bomb[0] = 0xdd
    const hostile = await ask(at(), 'POST', '/jobs', { body: bomb, headers: { 'content-type': 'application/msgpack' } })
    expect(hostile.status).toBe(400)
    for (const key of ['', 'x'.repeat(LIMITS.maxNameLength + 1)]) {
      expect((await post(inference(), { 'idempotency-key': `"${key}"` })).status).toBe(400)
    }
    expect((await ask(at(), 'GET', '/jobs')).status).toBe(400)
    expect((await ask(at(), 'GET', '/jobs?state=dead&limit=0')).status).toBe(400)
  })

  it('answers 404 for jobs that there are not', async () => {
    const calls = [['GET', ''], ['GET', '/events'], ['DELETE', ''], ['POST', '/retry']] as const
    for (const [method, path] of calls) {
      expect((await ask(at(), method, `/jobs/job_none${path}`)).status, `${method} ${path}`).toBe(404)
    }
  })
}

/** Whose jobs they are, on a gateway with keys. */
export function jobKeyCases(at: () => string, keys: () => Keys): void {
  it("shows nobody another's job", async () => {
    const json = { service: 'jobs.Nobody', method: 'nothing', params: {} }
    const headers = { ...keys().call, 'idempotency-key': 'shared by chance' }
    const { status, json: { id } } = await ask(at(), 'POST', '/jobs', { json, headers })
    expect(status).toBe(202)
    expect((await ask(at(), 'GET', `/jobs/${id}`, { headers: keys().call })).status).toBe(200)
    const calls = [['GET', ''], ['GET', '/events'], ['DELETE', ''], ['POST', '/retry']] as const
    for (const [method, path] of calls) {
      const foreign = await ask(at(), method, `/jobs/${id}${path}`, { headers: keys().admin })
      expect([method, path, foreign.status]).toEqual([method, path, 404])
    }
    // Nor does an idempotency key of one name another's job.
    const other = await ask(at(), 'POST', '/jobs', { json, headers: { ...headers, ...keys().admin } })
    expect(other.status).toBe(202)
    expect(other.json.id).not.toBe(id)
    const gone = await ask(at(), 'DELETE', `/jobs/${id}`, { headers: keys().call })
    expect(gone.json.state).toBe('canceled')
    await ask(at(), 'DELETE', `/jobs/${other.json.id}`, { headers: keys().admin })
  })
}
