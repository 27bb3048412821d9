import { expect, it } from 'vitest'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { watchJob } from '../../../shared/jobs/job_watch.ts'
import type { RpcRequest, RpcResponse } from '../../../shared/rpc/send.ts'
import { encodeJson } from '../../../shared/wire/codec.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { openJobs, ORDER } from './job_world.ts'

const answer = (value: unknown): RpcResponse => {
  return { kind: 'unary', metadata: {}, payload: { codec: 'json', body: encodeJson(value) } }
}
const echo = async (request: RpcRequest) => ({ kind: 'unary', metadata: {}, payload: request.payload }) as const

/** A call that goes on until it is answered, or dropped. */
function held() {
  const calls: { request: RpcRequest; end(value: RpcResponse): void; fail(error: RpcError): void }[] = []
  const send = (request: RpcRequest) =>
    new Promise<RpcResponse>((end, fail) => {
      calls.push({ request, end, fail })
      request.signal.addEventListener('abort', () => fail(RpcError.from(request.signal.reason)))
    })
  return { calls, send }
}

it('does what it is given and keeps the result', async () => {
  const world = openJobs({ send: echo })
  const id = await world.submit()
  await world.clock.advance(10)
  const view = await world.desk.view(await world.desk.find('us', id), true)
  expect(view).toMatchObject({ state: 'done', attempts: 1, failures: 0, result: { a: 1 } })
  await world.close()
  expect(world.clock.pending).toBe(0)
})

it('settles at once what was the last under way, and what ends beside others together with them', async () => {
  const { calls, send } = held()
  const world = openJobs({ send })
  await world.submit({}, 4)
  await world.clock.advance(10)
  const before = world.exchanges()
  calls[0]?.end(answer(0))
  calls[1]?.end(answer(1))
  await world.clock.advance(0)
  expect([world.exchanges() - before, world.consumer.size]).toEqual([0, 2])
  await world.clock.advance(1)
  expect(world.exchanges() - before).toBe(1)
  calls[2]?.end(answer(2))
  calls[3]?.end(answer(3))
  await world.clock.advance(0)
  expect([world.exchanges() - before, await world.store.counts()]).toEqual([2, { queued: 0, running: 0 }])
  await world.clock.advance(10)
  expect(world.exchanges() - before).toBe(2)
  await world.close()
  expect(world.clock.pending).toBe(0)
})

it('asks an idle store no more than once in five seconds, and at once when woken', async () => {
  const world = openJobs({ send: echo })
  await world.consumer.wake()
  const before = world.exchanges()
  await world.clock.advance(60_000)
  expect(world.exchanges() - before).toBeLessThanOrEqual(60 / 5)
  expect(world.exchanges() - before).toBeGreaterThan(5)
  const id = await world.submit()
  await world.clock.advance(10)
  expect((await world.desk.find('us', id)).state).toBe('done')
  await world.close()
})

it('takes no more than there is room for, and more as soon as there is', async () => {
  const { calls, send } = held()
  const world = openJobs({ send, capacity: () => ({ model: 0, function: 4 }) })
  await world.submit({}, 50)
  await world.clock.advance(10)
  let most = world.consumer.size
  for (let done = 0; done < 50; done++) {
    const call = calls[done]
    if (!call) throw new Error(`Expected call ${done}`)
    call.end(answer(done))
    await world.clock.advance(10)
    most = Math.max(most, world.consumer.size)
  }
  expect(most).toBe(4)
  expect(await world.store.counts()).toEqual({ queued: 0, running: 0 })
  await world.close()
})

it('holds back where jobs wait long for those before them', async () => {
  const { calls, send } = held()
  const world = openJobs({ send, capacity: () => ({ model: 0, function: 64 }) })
  await world.submit({}, 200)
  await world.clock.advance(10)
  const first = world.consumer.size
  for (let i = 0; i < 60; i++) {
    await world.clock.advance(6_000)
    calls[i]?.end(answer(i))
    await world.clock.advance(10)
  }
  expect(world.consumer.size).toBeLessThan(first)
  expect(world.consumer.size).toBeGreaterThan(0)
  await world.close()
})

it('drops the work on a canceled job, at once here and with its next beat elsewhere', async () => {
  const { calls, send } = held()
  const world = openJobs({ send })
  const [here, elsewhere] = [await world.submit(), await world.submit()]
  await world.clock.advance(10)
  expect((await world.desk.cancel('us', here)).state).toBe('canceled')
  const aborted = () => calls.map(({ request }) => request.signal.aborted)
  expect(aborted()).toEqual([true, false])
  await world.store.cancel(elsewhere)
  await world.clock.advance(DEFAULTS.jobBeatMs + 10)
  expect(aborted()).toEqual([true, true])
  expect(world.consumer.size).toBe(0)
  expect((await world.desk.find('us', elsewhere)).state).toBe('canceled')
  await world.close()
})

it('keeps a job that takes longer than its lease', async () => {
  const { calls, send } = held()
  const world = openJobs({ send })
  const id = await world.submit({ timeoutMs: 600_000 })
  await world.clock.advance(4 * DEFAULTS.jobLeaseMs)
  calls[0]?.end(answer('late'))
  await world.clock.advance(10)
  expect(await world.desk.find('us', id)).toMatchObject({ state: 'done', attempt: 1 })
  await world.close()
})

it('spends an attempt on what failed, none on what was not begun, and no second one on what cannot succeed', async () => {
  const errors = [
    new RpcError('resource_exhausted', 'no room', { retryAfterMs: 50 }),
    new RpcError('unavailable', 'nobody there', { neverSent: true }),
    new RpcError('internal', 'broken'),
    new RpcError('failed_precondition', 'too large for those that are there', { neverSent: true }),
    new RpcError('invalid_argument', 'wrong'),
  ]
  const world = openJobs({
    send: async () => {
      throw errors.shift() ?? new Error('Expected no further attempt')
    },
  })
  const id = await world.submit()
  await world.clock.advance(4 * DEFAULTS.jobRetryCapMs)
  expect(errors).toEqual([])
  const view = await world.desk.view(await world.desk.find('us', id), true)
  expect(view).toMatchObject({ state: 'dead', attempts: 5, failures: 3, error: { code: 'invalid_argument' } })
  await world.close()
})

it('gives back what is not done when it stops', async () => {
  const { calls, send } = held()
  const world = openJobs({ send })
  const id = await world.submit()
  await world.clock.advance(10)
  await world.consumer.close()
  expect(calls[0]?.request.signal.aborted).toBe(true)
  const { jobs: [again] } = await world.store.exchange({
    outcomes: [],
    take: { model: 0, function: 1 },
    leaseMs: 1_000,
  })
  expect(again).toMatchObject({ id, attempt: 2, failures: 0 })
  await world.store.close()
  expect(world.clock.pending).toBe(0)
})

it('keeps long payloads and results in blobs, and removes them with the job', async () => {
  const text = '"é\\'.repeat(LIMITS.maxInlineJobBytes / 4)
  const world = openJobs({ send: echo })
  const id = await world.submit({ params: { codec: 'json', body: encodeJson({ text }) } })
  await world.clock.advance(10)
  const view = await world.desk.view(await world.desk.find('us', id), true)
  expect((view.result as { text: string }).text === text).toBe(true)
  expect([...world.blobs.keys.keys()].sort()).toEqual([`jobs/${id}.params`, `jobs/${id}.result.1`])
  await world.clock.advance(70_000)
  expect([...world.blobs.keys.keys()]).toEqual([])
  await expect(world.desk.find('us', id)).rejects.toThrow(/none of that id/)
  await world.close()
})

it('leaves no blob of a submission that was refused', async () => {
  const world = openJobs({ send: echo })
  const long = { codec: 'json', body: encodeJson({ text: 'x'.repeat(LIMITS.maxInlineJobBytes) }) } as const
  const submit = (fingerprint: string) =>
    world.desk.submit('us', [{ ...orderOf(long) }], '', { name: 'key', fingerprint })
  const { id } = await submit('a')
  expect((await submit('a')).id).toBe(id)
  await expect(submit('b')).rejects.toThrow(/Idempotency-Key/)
  await world.clock.advance(10)
  expect([...world.blobs.keys.keys()].every((key) => key.startsWith(`jobs/${id}.`))).toBe(true)
  await world.close()
})

it('tells of a job from its first state to its last', async () => {
  const { calls, send } = held()
  const world = openJobs({ send })
  const id = await world.submit()
  const seen: string[] = []
  const watching = (async () => {
    const deps = { find: () => world.desk.find('us', id), feed: world.feed, clock: world.clock }
    for await (const { event } of watchJob(id, deps, new AbortController().signal)) seen.push(event)
  })()
  await world.clock.advance(2 * DEFAULTS.jobBeatMs)
  calls[0]?.end(answer(1))
  await world.clock.advance(3_000)
  await watching
  expect(seen[0]).toBe('running')
  expect(seen.slice(1, -1).every((event) => event === 'progress')).toBe(true)
  expect(seen).toContain('progress')
  expect(seen.at(-1)).toBe('done')
  expect(world.feed.size).toBe(0)
  await world.close()
})

function orderOf(params: { codec: 'json'; body: Uint8Array<ArrayBuffer> }) {
  return { ...ORDER, params }
}
