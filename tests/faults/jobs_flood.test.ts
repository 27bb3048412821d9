import { expect, it } from 'vitest'
import { jobs } from '../../shared/jobs/jobs_client.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { eventually } from '../conformance/expectations.ts'
import { metricAt } from '../conformance/gateway_metrics.ts'
import { affine } from '../fixtures/models.ts'
import { report } from './figures.ts'
import { startPool, WEIGHTS } from './gateway_pool.ts'

const JOBS = 10_000
const KILLS = 5
const READERS = 32

it(`a flood of ${JOBS} jobs is done, each once, while a worker is killed and started again`, async () => {
  await using pool = await startPool()
  pool.join('steady')
  const rowOf = (i: number) => [i, -i / 8, i % 7]
  const client = jobs({ gateway: pool.url })
  const doneNow = () => metricAt(pool.url, 'shoal_jobs_settled_total{outcome="done"}')
  const joined = (name: string) => async () => (await pool.workers()).some((worker) => worker.name === name)
  let doomed = pool.join('doomed 1')
  // Before the flood: it must be at its height when the first is killed.
  await Promise.all(['steady', 'doomed 1'].map((name) => eventually(joined(name))))
  const startedAtMs = performance.now()
  // Every sixth keeps its worker busy for milliseconds, so that there is something to interrupt.
  const ids = await client.submitAll(Array.from({ length: JOBS }, (_, i) => ({
    model: i % 6 === 0 ? 'busy' : 'joined',
    inputs: { x: Tensor.from('float32', [1, 3], rowOf(i)) },
  })))
  const submittedAtMs = performance.now()
  const leftAtKills: number[] = []
  for (let kill = 1; kill <= KILLS; kill++) {
    const name = `doomed ${kill}`
    if (kill > 1) doomed = pool.join(name)
    await eventually(joined(name))
    // Not before it is at work.
    await eventually(async () => (await pool.workers()).some((worker) => worker.name === name && worker.served > 0))
    leftAtKills.push(JOBS - await doneNow())
    doomed.signal('SIGKILL')
    await doomed.ended
  }
  await eventually(async () => await doneNow() >= JOBS, async () => await new Promise((r) => setTimeout(r, 100)))
  const seconds = (performance.now() - startedAtMs) / 1000
  const wrong: unknown[] = []
  let next = 0
  await Promise.all(Array.from({ length: READERS }, async () => {
    for (let i = next++; i < JOBS; i = next++) {
      const { state, result } = await client.get(ids[i] ?? '')
      const given = [...(result as { outputs: { y: Tensor } }).outputs.y.data as Float32Array]
      if (state !== 'done' || String(given) !== String(affine(WEIGHTS, rowOf(i)))) wrong.push({ i, state, given })
    }
  }))
  const accepted = await doneNow()
  expect([new Set(ids).size, wrong, accepted, (await client.dead()).length]).toEqual([JOBS, [], JOBS, 0])
  // The last may have come when all was done; the first must not.
  expect(leftAtKills[0]).toBeGreaterThan(0)
  report(`flood of ${JOBS} jobs, ${KILLS} kills`, 'each one accepted result', {
    jobs: JOBS,
    'results accepted': accepted,
    wrong: wrong.length,
    lost: JOBS - accepted,
    'left at the kills': leftAtKills.join(' '),
    'seconds to submit': Number(((submittedAtMs - startedAtMs) / 1000).toFixed(1)),
    'seconds in all': Number(seconds.toFixed(1)),
  })
}, 300_000)
