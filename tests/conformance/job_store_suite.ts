import { expect } from 'chai'
import { LIMITS } from '../../shared/base/limits.ts'
import { newId } from '../../shared/base/random.ts'
import type { JobStore, NewJob, Outcome, TakenJob } from '../../shared/stores/job_store.ts'
import type { Suite } from '../suite.ts'
import { eventually, refusal } from './expectations.ts'
import { usingOf } from './harnessed.ts'

export interface JobHarness {
  readonly store: JobStore
  /** Another client of the same data. */
  readonly other: JobStore
  /** A lease short enough to be waited for. */
  shortMs: number
  /** Lets the store's clock go on. */
  elapse(ms: number): Promise<void>
  close(): Promise<void>
}

const LONG_MS = 60_000

export function job(more: Partial<NewJob> = {}): NewJob {
  const usual = { maxAttempts: 3, ttlMs: LONG_MS, keepMs: LONG_MS, hasBlobs: false, task: '{}' }
  return { lane: 'model', priority: 'normal', ...usual, ...more }
}

const submit = (store: JobStore, jobs: readonly NewJob[], more: { owner?: string } = {}) =>
  store.submit({ id: newId('job'), owner: 'us', jobs, ...more })

/** Settles and takes, as a consumer does. */
function exchange(store: JobStore, outcomes: readonly Outcome[] = [], model = 0, fn = 0, leaseMs = LONG_MS) {
  return store.exchange({ outcomes, take: { model, function: fn }, leaseMs })
}

async function takeOne(store: JobStore, leaseMs = LONG_MS): Promise<TakenJob> {
  const { jobs: [taken] } = await exchange(store, [], 1, 0, leaseMs)
  if (!taken) throw new Error('Expected a job to take')
  return taken
}

const done = ({ id, attempt }: TakenJob, result = 'right'): Outcome => {
  return { id, attempt, kind: 'done', result, hasBlobs: false }
}
const failed = ({ id, attempt }: TakenJob, delayMs = 0): Outcome => {
  return { id, attempt, kind: 'failed', reason: 'because', delayMs }
}

const stateAt = async (store: JobStore, id: string) => (await store.read([id]))[0]

/** What every JobStore must do. */
export function jobStoreSuite(name: string, open: () => Promise<JobHarness>): Suite {
  const using = usingOf(open)
  /** Takes again and again until there is one. */
  const takeEventually = async ({ store, elapse }: JobHarness, leaseMs = LONG_MS): Promise<TakenJob> => {
    let taken: TakenJob | undefined
    await eventually(async () => {
      const { jobs: [first] } = await exchange(store, [], 1, 0, leaseMs)
      taken = first
      return taken !== undefined
    }, elapse)
    return taken as TakenJob
  }
  return {
    name: `jobs: ${name}`,
    cases: {
      'keeps what was submitted, gives it out once, and keeps what came of it': using(async ({ store, other }) => {
        const { id, count, replayed } = await submit(store, [job({ task: '{"a":"海\\n"}' })])
        expect([count, replayed]).to.deep.equal([1, false])
        const queued = await stateAt(other, id)
        expect(queued).to.include({ id, owner: 'us', state: 'queued', task: '{"a":"海\\n"}', attempt: 0, failures: 0 })
        expect(await other.counts()).to.deep.equal({ queued: 1, running: 0 })
        const taken = await takeOne(other)
        expect(taken).to.deep.equal({
          lane: 'model',
          id,
          attempt: 1,
          failures: 0,
          owner: 'us',
          task: '{"a":"海\\n"}',
        })
        expect((await exchange(store, [], 9, 9)).jobs).to.deep.equal([])
        expect((await stateAt(store, id))?.state).to.equal('running')
        expect(await store.counts()).to.deep.equal({ queued: 0, running: 1 })
        expect((await exchange(other, [done(taken, '"é"')])).accepted).to.deep.equal([true])
        const over = await stateAt(store, id)
        expect(over).to.include({ state: 'done', result: '"é"', attempt: 1 })
        expect(over?.finishedAtMs).to.be.at.least(over?.submittedAtMs ?? Infinity)
        expect(await stateAt(store, 'job_unknown')).to.equal(undefined)
      }),
      'gives jobs out by lane and priority, and in the order they came': using(async ({ store }) => {
        await submit(store, [
          job({ task: 'low', priority: 'low' }),
          job({ task: 'one' }),
          job({ task: 'f', lane: 'function' }),
          job({ task: 'two' }),
          job({ task: 'high', priority: 'high' }),
        ])
        expect((await exchange(store, [], 3)).jobs.map(({ task }) => task)).to.deep.equal(['high', 'one', 'two'])
        expect((await exchange(store, [], 3, 3)).jobs.map(({ task }) => task)).to.deep.equal(['low', 'f'])
      }),
      'gives each of many jobs to one of several consumers': using(async ({ store, other }) => {
        await submit(store, Array.from({ length: 300 }, (_, i) => job({ task: String(i) })))
        const taken: string[] = []
        const consume = async (from: JobStore) => {
          for (;;) {
            const { jobs } = await exchange(from, [], 7)
            if (jobs.length === 0) return
            taken.push(...jobs.map(({ task }) => task))
          }
        }
        await Promise.all([consume(store), consume(other), consume(store), consume(other)])
        expect(taken.map(Number).sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 300 }, (_, i) => i))
      }),
      'accepts one outcome of three deliveries: that of the latest attempt, once': using(async (harness) => {
        const { store, other, shortMs, elapse } = harness
        const { id } = await submit(store, [job({ maxAttempts: 9 })])
        const first = await takeOne(store, shortMs)
        await elapse(shortMs + 20)
        const second = await takeEventually(harness)
        expect((await exchange(other, [done(first, 'late')])).accepted).to.deep.equal([false])
        await exchange(store, [{ id, attempt: second.attempt, kind: 'released', delayMs: 0 }])
        const third = await takeEventually(harness)
        expect([first, second, third].map(({ attempt }) => attempt)).to.deep.equal([1, 2, 3])
        expect((await exchange(other, [done(second, 'late')])).accepted).to.deep.equal([false])
        expect((await exchange(store, [done(third), done(third, 'again')])).accepted).to.deep.equal([true, false])
        expect((await exchange(other, [failed(third)])).accepted).to.deep.equal([false])
        expect(await stateAt(store, id)).to.include({ state: 'done', result: 'right' })
      }),
      'gives a job out again when its lease is over, and not while it is prolonged': using(async (harness) => {
        const { store, other, shortMs, elapse } = harness
        const { id } = await submit(store, [job()])
        // It must still last when it is prolonged, however busy the machine.
        const leaseMs = 20 * shortMs
        const taken = await takeOne(store, leaseMs)
        expect(await other.extend([taken, { id, attempt: 7 }, { id: 'none', attempt: 1 }], LONG_MS)).to.deep.equal([
          true,
          false,
          false,
        ])
        await elapse(leaseMs + 20)
        const { jobs, dueInMs } = await exchange(store, [], 1)
        expect(jobs).to.deep.equal([])
        expect(dueInMs).to.be.within(1, LONG_MS)
        await store.extend([taken], 1)
        expect(await takeEventually(harness)).to.include({ id, attempt: 2, failures: 1 })
        expect(await store.extend([taken], LONG_MS)).to.deep.equal([false])
      }),
      'tries again after the delay, in its old place, until no attempt is left': using(async (harness) => {
        const { store, elapse, shortMs } = harness
        const { id } = await submit(store, [job({ maxAttempts: 2 })])
        const first = await takeOne(store)
        await exchange(store, [failed(first, shortMs)])
        expect(await stateAt(store, id)).to.include({ state: 'queued', failures: 1, reason: 'because' })
        await submit(store, [job({ task: 'later' })])
        await elapse(shortMs + 20)
        await eventually(async () => (await exchange(store)).jobs.length === 0 && (await store.counts()).queued === 2)
        const second = await takeEventually(harness)
        expect(second).to.include({ id, attempt: 2, failures: 1 })
        await exchange(store, [failed(second)])
        expect(await stateAt(store, id)).to.include({ state: 'dead', failures: 2, reason: 'because' })
      }),
      'buries a job that takes its consumers with it': using(async (harness) => {
        const { store, shortMs, elapse } = harness
        const { id } = await submit(store, [job({ maxAttempts: 2 })])
        await takeOne(store, shortMs)
        await elapse(shortMs + 20)
        expect((await takeEventually(harness, shortMs)).attempt).to.equal(2)
        await elapse(shortMs + 20)
        await eventually(async () => {
          await exchange(store)
          return (await stateAt(store, id))?.state === 'dead'
        }, elapse)
        expect((await stateAt(store, id))?.reason).to.contain('vanished')
        expect(await store.dead('us', 10)).to.deep.equal([id])
      }),
      'spends no attempt on a job that was given back': using(async (harness) => {
        const { store } = harness
        const { id } = await submit(store, [job({ maxAttempts: 1 })])
        for (let attempt = 1; attempt <= 4; attempt++) {
          const taken = await takeEventually(harness)
          expect(taken).to.include({ id, attempt, failures: 0 })
          await exchange(store, [{ id, attempt, kind: 'released', delayMs: 0 }])
        }
      }),
      'lists dead jobs by owner, the latest first, and queues them again': using(async (harness) => {
        const { store, elapse } = harness
        const { id: foreign } = await submit(store, [job()], { owner: 'them' })
        await exchange(store, [{ ...await takeOne(store), kind: 'dead', reason: 'theirs' }])
        const ids: string[] = []
        for (const reason of ['first', 'second']) {
          const { id } = await submit(store, [job()])
          ids.unshift(id)
          await exchange(store, [{ ...await takeOne(store), kind: 'dead', reason }])
          await elapse(5)
        }
        expect(await store.dead('us', 10)).to.deep.equal(ids)
        expect(await store.dead('us', 1)).to.deep.equal(ids.slice(0, 1))
        expect(await store.dead('them', 10)).to.deep.equal([foreign])
        const [id = ''] = ids
        expect(await store.retry(id)).to.equal(true)
        expect(await store.retry(id)).to.equal(false)
        expect(await store.retry('none')).to.equal(false)
        expect(await store.dead('us', 10)).to.deep.equal(ids.slice(1))
        const again = await takeEventually(harness)
        expect(again).to.include({ id, attempt: 2, failures: 0 })
        expect((await exchange(store, [done(again)])).accepted).to.deep.equal([true])
      }),
      'cancels jobs that wait, that wait for their next attempt, and that are under way': using(async ({ store }) => {
        const { id: waiting } = await submit(store, [job()])
        expect(await store.cancel(waiting)).to.equal(true)
        expect(await store.cancel(waiting)).to.equal(false)
        expect((await exchange(store, [], 1)).jobs).to.deep.equal([])
        const { id: delayed } = await submit(store, [job()])
        await exchange(store, [failed(await takeOne(store), 20)])
        expect(await store.cancel(delayed)).to.equal(true)
        const { id: running } = await submit(store, [job()])
        const taken = await takeOne(store)
        expect(await store.cancel(running)).to.equal(true)
        expect(await store.extend([taken], LONG_MS)).to.deep.equal([false])
        expect((await exchange(store, [done(taken)])).accepted).to.deep.equal([false])
        for (const id of [waiting, delayed, running]) expect((await stateAt(store, id))?.state).to.equal('canceled')
        expect((await exchange(store, [], 9)).jobs).to.deep.equal([])
        expect(await store.counts()).to.deep.equal({ queued: 0, running: 0 })
      }),
      'answers the same key with the same jobs, and another payload with a refusal': using(async ({ store, other }) => {
        const key = { name: 'us/key', fingerprint: 'abc' }
        const batch = { owner: 'us', jobs: [job(), job()], key }
        const [first, second] = await Promise.all([
          store.submit({ ...batch, id: newId('job') }),
          other.submit({ ...batch, id: newId('job') }),
        ])
        expect(second?.id).to.equal(first?.id)
        expect([first?.replayed, second?.replayed].sort()).to.deep.equal([false, true])
        expect(await store.counts()).to.deep.equal({ queued: 2, running: 0 })
        const again = await store.submit({ ...batch, id: newId('job') })
        expect(again).to.deep.equal({ id: first?.id, count: 2, replayed: true })
        const other422 = store.submit({ ...batch, id: newId('job'), key: { ...key, fingerprint: 'xyz' } })
        expect((await refusal(other422)).code).to.equal('already_exists')
        expect((await store.submit({ ...batch, id: newId('job'), key: { ...key, name: 'them/key' } })).replayed)
          .to.equal(false)
      }),
      'queues a batch of ten thousand, in order, or none of it': using(async ({ store, other }) => {
        const jobs = Array.from({ length: LIMITS.maxJobBatch }, (_, i) => job({ task: `${i}` }))
        expect((await refusal(submit(store, [...jobs, job()]))).code).to.equal('invalid_argument')
        expect(await store.counts()).to.deep.equal({ queued: 0, running: 0 })
        const { id, count } = await submit(store, jobs)
        expect(count).to.equal(jobs.length)
        const [first, last] = await other.read([`${id}.0`, `${id}.${jobs.length - 1}`])
        expect([first?.task, last?.task]).to.deep.equal(['0', `${jobs.length - 1}`])
        expect((await exchange(store, [], 3)).jobs.map(({ task }) => task)).to.deep.equal(['0', '1', '2'])
        expect(await store.counts()).to.deep.equal({ queued: jobs.length - 3, running: 3 })
      }),
      'holds tasks of the largest size, and no larger': using(async ({ store }) => {
        const task = '海'.repeat(LIMITS.maxInlineJobBytes)
        const { id } = await submit(store, [job({ task }), job({ task: 'x' })])
        expect((await stateAt(store, `${id}.0`))?.task === task).to.equal(true)
        expect((await refusal(submit(store, [job({ task: `${task}x` })]))).code).to.equal('invalid_argument')
        expect((await refusal(submit(store, []))).code).to.equal('invalid_argument')
        expect((await refusal(submit(store, [job({ task: 'a\0b' })]))).code).to.equal('invalid_argument')
      }),
      'buries what was not done in time, whether it waited or was under way': using(async ({ store, elapse }) => {
        const { id } = await submit(store, [job({ ttlMs: 1_500 }), job({ ttlMs: 1_500 })])
        const taken = await takeOne(store)
        await elapse(1_600)
        await eventually(async () => {
          await exchange(store)
          return (await store.read([`${id}.0`, `${id}.1`])).every((one) => one?.state === 'dead')
        }, elapse)
        expect((await stateAt(store, `${id}.1`))?.reason).to.contain('deadline_exceeded')
        expect((await exchange(store, [done(taken)])).accepted).to.deep.equal([false])
      }),
      'forgets jobs when their time is over; those with blobs once these are gone': using(async (harness) => {
        const { store, elapse } = harness
        const { id } = await submit(store, [
          job({ keepMs: 10 }),
          job({ keepMs: 10, hasBlobs: true }),
          job({ keepMs: 10 }),
        ])
        const { jobs: [plain, blobs, grown] } = await exchange(store, [], 3)
        if (!plain || !blobs || !grown) throw new Error('Expected three jobs')
        await exchange(store, [done(plain), done(blobs), { ...grown, kind: 'done', result: '', hasBlobs: true }])
        await elapse(20)
        const expected = [`${id}.1`, `${id}.2`]
        await eventually(async () => {
          const { forgotten, dueInMs } = await exchange(store)
          return forgotten.length === 2 && String(forgotten.sort()) === String(expected) && dueInMs === 0
        }, elapse)
        expect(await stateAt(store, `${id}.0`)).to.equal(undefined)
        expect((await stateAt(store, `${id}.1`))?.state).to.equal('done')
        await store.forget([...expected, 'none'])
        expect(await store.read(expected)).to.deep.equal([undefined, undefined])
        expect(await exchange(store)).to.deep.include({ forgotten: [], dueInMs: undefined })
      }),
      'forgets no job that is not over': using(async ({ store }) => {
        const { id } = await submit(store, [job({ hasBlobs: true })])
        await store.forget([id])
        expect((await stateAt(store, id))?.state).to.equal('queued')
      }),
      'says when something falls due by itself': using(async ({ store }) => {
        expect((await exchange(store)).dueInMs).to.equal(undefined)
        await submit(store, [job({ ttlMs: 50_000 })])
        expect((await exchange(store)).dueInMs).to.be.within(1, 50_000)
        const taken = (await exchange(store, [], 1, 0, 20_000)).jobs[0]
        if (!taken) throw new Error('Expected a job')
        expect((await exchange(store)).dueInMs).to.be.within(1, 20_000)
        await exchange(store, [failed(taken, 10_000)])
        expect((await exchange(store)).dueInMs).to.be.within(1, 10_000)
      }),
    },
  }
}
