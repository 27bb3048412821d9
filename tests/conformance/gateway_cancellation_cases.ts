import { afterAll, beforeAll, expect, it } from 'vitest'
import { LIMITS } from '../../shared/base/limits.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { fixedModel, identityModel } from '../fixtures/models.ts'
import { eventually, refusal } from './expectations.ts'
import { type HeldRun, type HeldWorker, joinHeldWorker } from './gateway_held_worker.ts'
import { ask, inferenceAt } from './gateway_http.ts'
import { metricAt } from './gateway_metrics.ts'

/** A deadline that a call outlives neither in the queue nor on the worker, and by which it has surely come there. */
const ARRIVES_MS = 1_500

const INFER = '/v2/models/held/infer'

/**
 * What becomes of calls whose caller has gone. The worker is held by hand and takes two runs at once, so it is known
 * which calls run and which wait. The model joins no calls.
 */
export function cancellationCases(at: () => string): void {
  let worker: HeldWorker
  beforeAll(async () => {
    await ask(at(), 'PUT', '/models/held/versions/1', { body: fixedModel() })
    const none = await ask(at(), 'POST', INFER, { json: body(0) })
    expect([none.status, none.json.error]).toEqual([503, expect.stringContaining('no worker is connected')])
    expect(Number(none.headers.get('retry-after'))).toBeGreaterThan(0)
    worker = await joinHeldWorker(at())
  })
  afterAll(async () => {
    worker.socket.peer.control('goodbye', { reason: 'done' })
    await worker.socket.closed
  })

  const dropped = (state: string) => metricAt(at(), `shoal_pool_calls_dropped_total{state="${state}"}`)
  const call = (mark: number, options: { signal?: AbortSignal; headers?: Record<string, string> } = {}) =>
    ask(at(), 'POST', INFER, { json: body(mark), ...options })
  /** Two calls that keep the worker busy. */
  const occupy = async (marks: [number, number]) => {
    const answers = marks.map((mark) => call(mark))
    const runs: [HeldRun, HeldRun] = [await worker.nextRun(), await worker.nextRun()]
    expect(runs.map(markOf).sort()).toEqual(marks)
    return { runs, answers: Promise.all(answers) }
  }
  const submitJob = (mark: number) => {
    const x = { $tensor: 'float32', shape: [2, 3], data: new Array(6).fill(mark) }
    return ask(at(), 'POST', '/jobs', { json: { model: 'held', inputs: { x } } })
  }
  const allQueued = (count: number) => eventually(async () => await metricAt(at(), 'shoal_pool_queued_calls') === count)

  it('takes a waiting call whose time is over out of the queue', async () => {
    const { runs, answers } = await occupy([1, 2])
    const before = await dropped('queued')
    const late = await call(3, { headers: { 'connect-timeout-ms': String(ARRIVES_MS) } })
    expect([late.status, late.json.error]).toEqual([504, expect.stringMatching(/deadline/)])
    await eventually(async () => await dropped('queued') === before + 1)
    const next = call(4)
    for (const run of runs) run.release()
    expect((await answers).map(({ status }) => status)).toEqual([200, 200])
    // The call that was dropped never reached the worker: the next run is the next call's.
    const run = await worker.nextRun()
    expect(markOf(run)).toBe(4)
    run.release()
    expect(await markIn(next)).toBe(4)
    expect(worker.waiting).toEqual([])
  })

  it('drops the run of a job that is canceled', async () => {
    const { json: { id } } = await submitJob(5)
    const run = await worker.nextRun()
    expect([markOf(run), run.signal.aborted]).toEqual([5, false])
    const answer = await ask(at(), 'DELETE', `/jobs/${id}`)
    expect([answer.status, answer.json.state]).toEqual([200, 'canceled'])
    await eventually(async () => run.signal.aborted)
    run.release()
    expect((await ask(at(), 'GET', `/jobs/${id}`)).json.state).toBe('canceled')
  })

  it('puts jobs behind calls that someone waits for', async () => {
    const { runs, answers } = await occupy([1, 2])
    const { json: { id } } = await submitJob(6)
    await allQueued(1)
    const next = call(7)
    await allQueued(2)
    const { json: { models } } = await ask(at(), 'GET', '/models')
    const { sha256 } = models.find(({ name }: { name: string }) => name === 'held')
    const { json: listed } = await ask(at(), 'GET', '/workers')
    expect([listed.queues, listed.silent]).toEqual([[{ model: sha256, calls: 2 }], []])
    for (const run of runs) run.release()
    await answers
    const [first, second] = [await worker.nextRun(), await worker.nextRun()]
    expect([first, second].map(markOf)).toEqual([7, 6])
    first.release()
    second.release()
    expect(await markIn(next)).toBe(7)
    await eventually(async () => (await ask(at(), 'GET', `/jobs/${id}`)).json.state === 'done')
  })

  it('takes the time from the parameters too, in microseconds', async () => {
    const { runs, answers } = await occupy([7, 8])
    const late = await ask(at(), 'POST', INFER, { json: { ...body(9), parameters: { timeout: 50_000 } } })
    expect([late.status, late.json.error]).toEqual([504, expect.stringMatching(/deadline of 50 ms/)])
    for (const run of runs) run.release()
    expect((await answers).map(({ status }) => status)).toEqual([200, 200])
    expect(worker.waiting).toEqual([])
  })

  it('gives each step of a generation to its caller before the next one runs, and ends with its reader', async () => {
    await ask(at(), 'PATCH', '/models/held/versions/1', { json: { loop: { feed: { y: 'x' }, maxSteps: 1000 } } })
    const x = Tensor.from('float32', [2, 3], new Float32Array(6).fill(51))
    const items = inferenceAt(at()).generate({ model: 'held', inputs: { x } }, { timeoutMs: 20_000 })
    const reader = items[Symbol.asyncIterator]()
    for (let step = 0; step < 3; step++) {
      const item = reader.next()
      const run = await worker.nextRun()
      expect([markOf(run), worker.waiting.length]).toEqual([51, 0])
      run.release()
      expect((await item).value?.step).toBe(step)
    }
    const last = await worker.nextRun()
    await reader.return?.()
    await eventually(async () => last.signal.aborted)
    last.release()
    expect(worker.waiting).toEqual([])
  })

  it('lets urgent calls go before others', async () => {
    const { runs, answers } = await occupy([31, 32])
    const marks = [call(33)]
    await allQueued(1)
    marks.push(ask(at(), 'POST', INFER, { json: { ...body(34), parameters: { priority: 1 } } }))
    await allQueued(2)
    for (const run of runs) run.release()
    await answers
    const next = [await worker.nextRun(), await worker.nextRun()]
    expect(next.map(markOf)).toEqual([34, 33])
    for (const run of next) run.release()
    expect(await Promise.all(marks.map(markIn))).toEqual([33, 34])
  })

  it('drops a running call whose time is over, in JSON as Connect does', async () => {
    const before = await dropped('running')
    const x = Tensor.from('float32', [2, 3], new Float32Array(6).fill(5))
    const error = refusal(
      inferenceAt(at(), { codec: 'json' }).infer({ model: 'held', inputs: { x } }, { timeoutMs: ARRIVES_MS }),
    )
    const over = await ask(at(), 'POST', '/rpc/shoal.Inference/infer', {
      json: { model: 'held', inputs: { x } },
      headers: { 'connect-timeout-ms': String(ARRIVES_MS) },
    })
    expect([over.status, over.json]).toEqual([504, {
      code: 'deadline_exceeded',
      message: expect.stringMatching(/deadline/),
    }])
    expect((await error).code).toBe('deadline_exceeded')
    for (const run of [await worker.nextRun(), await worker.nextRun()]) {
      await eventually(async () => run.signal.aborted)
      // Its answer comes too late for anyone; it must not become someone else's.
      run.release()
    }
    await eventually(async () => await dropped('running') === before + 2)
    const next = call(6)
    const run = await worker.nextRun()
    expect(markOf(run)).toBe(6)
    run.release()
    expect(await markIn(next)).toBe(6)
  })

  it('takes a waiting call whose caller has gone out of the queue', async () => {
    const { runs, answers } = await occupy([11, 12])
    const before = await dropped('queued')
    const leaving = new AbortController()
    const gone = call(13, { signal: leaving.signal }).catch((error) => error.name)
    await allQueued(1)
    leaving.abort()
    expect(await gone).toBe('AbortError')
    await eventually(async () => await dropped('queued') === before + 1)
    await allQueued(0)
    const next = call(14)
    for (const run of runs) run.release()
    expect((await answers).map(({ status }) => status)).toEqual([200, 200])
    const run = await worker.nextRun()
    expect(markOf(run)).toBe(14)
    run.release()
    expect(await markIn(next)).toBe(14)
  })

  it('drops a running call whose caller has gone, and tells its worker', async () => {
    const before = await dropped('running')
    const leaving = new AbortController()
    const gone = call(21, { signal: leaving.signal }).catch((error) => error.name)
    const run = await worker.nextRun()
    leaving.abort()
    expect(await gone).toBe('AbortError')
    await eventually(async () => run.signal.aborted)
    await eventually(async () => await dropped('running') === before + 1)
    run.release()
    const next = call(22)
    const following = await worker.nextRun()
    expect(markOf(following)).toBe(22)
    following.release()
    expect(await markIn(next)).toBe(22)
  })

  it('refuses what its queue cannot hold, and says when to come back', async () => {
    await ask(at(), 'PUT', '/models/wide/versions/1', { body: identityModel('float32', [1, 'width']) })
    const width = Math.ceil(LIMITS.maxQueuedBytes * 0.6 / 4)
    const x = Tensor.from('float32', [1, width], new Float32Array(width))
    const large = () => inferenceAt(at()).infer({ model: 'wide', inputs: { x } })
    const { runs, answers } = await occupy([41, 42])
    const first = large()
    await allQueued(1)
    const refused = await refusal(large())
    expect([refused.code, refused.message]).toEqual(['resource_exhausted', expect.stringContaining('queue')])
    expect(refused.retryAfterMs).toBeGreaterThanOrEqual(1000)
    expect(await metricAt(at(), 'shoal_pool_calls_shed_total{reason="bytes"}')).toBeGreaterThan(0)
    for (const run of runs) run.release()
    expect((await answers).map(({ status }) => status)).toEqual([200, 200])
    const run = await worker.nextRun()
    run.release()
    expect((await first).outputs.y?.shape).toEqual([1, width])
  })

  it('tells a worker which sizes a model wants to be warmed up in', async () => {
    const headers = { 'shoal-options': encodeURIComponent(JSON.stringify({ warmUp: [1, 8] })) }
    await ask(at(), 'PUT', '/models/warmed/versions/1', { body: identityModel('float32', ['N', 3]), headers })
    for (const [model, sizes] of [['warmed', [1, 8]], ['held', undefined]] as const) {
      const answer = inferenceAt(at()).infer({
        model,
        inputs: { x: Tensor.from('float32', [2, 3], [1, 2, 3, 4, 5, 6]) },
      })
      const run = await worker.nextRun()
      expect([model, run.warmUp]).toEqual([model, sizes])
      run.release()
      await answer
    }
  })

  it('gives a lost worker’s calls to another, and fails none', async () => {
    const { answers } = await occupy([31, 32])
    const other = await joinHeldWorker(at())
    worker.socket.close(1000, 'lost')
    const runs = [await other.nextRun(), await other.nextRun()]
    for (const run of runs) run.release()
    expect((await answers).map(({ json }) => json.outputs[0].data[0])).toEqual([31, 32])
    worker = other
  })
}

/** A call's inputs, all equal to its mark. */
function body(mark: number) {
  return { inputs: [{ name: 'x', shape: [2, 3], datatype: 'FP32', data: new Array(6).fill(mark) }] }
}

function markOf(run: HeldRun): number {
  return (run.inputs.x?.data as Float32Array)[0] ?? NaN
}

async function markIn(answer: ReturnType<typeof ask>): Promise<number> {
  return (await answer).json.outputs[0].data[0]
}
