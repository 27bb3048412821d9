import { afterEach, beforeEach, expect, it } from 'vitest'
import { eventually } from '../conformance/expectations.ts'
import type { Running } from '../fixtures/process.ts'
import { report } from './figures.ts'
import { JobScene, settledBy } from './job_scene.ts'

let scene: JobScene

beforeEach(async () => {
  scene = await JobScene.open()
})
afterEach(() => scene[Symbol.asyncDispose]())

const delivered = (id: string, times: number) => eventually(async () => (scene.deliveries.get(id) ?? 0) >= times)
const isOver = (id: string, state: string) => eventually(async () => (await scene.state(id)).state === state)
const outcomesOf = (workers: readonly Running[], id: string) =>
  workers.flatMap(settledBy).filter((outcome) => outcome.id === id)

it('a job that is delivered three times has one effect and one result', async () => {
  const ids = await Promise.all([1, 2, 3].map(() => scene.submit('effect', 'the same')))
  const [id = ''] = ids
  expect(new Set(ids).size).toBe(1)
  let open = () => {}
  scene.gate = new Promise((resolve) => open = resolve)
  // Each is paused while it works on the job, for longer than its lease: the next one is given it.
  const workers: Running[] = []
  for (let delivery = 1; delivery <= 3; delivery++) {
    const worker = await scene.worker()
    workers.push(worker)
    await delivered(id, delivery)
    if (delivery < 3) worker.signal('SIGSTOP')
  }
  open()
  await isOver(id, 'done')
  const result = JSON.parse((await scene.state(id)).result ?? '').text
  // Those who wake now find that it is not theirs any more, or bring what they have: it is refused.
  for (const worker of workers.slice(0, 2)) worker.signal('SIGCONT')
  await eventually(async () => workers.every((one) => /^(settled|lost)/m.test(one.output())))
  const accepted = outcomesOf(workers, id).filter((one) => one.accepted).length
  const state = await scene.state(id)
  expect([accepted, scene.effects.size, scene.deliveries.get(id)]).toEqual([1, 1, 3])
  expect([state.attempt, JSON.parse(state.result ?? '').text]).toEqual([3, result])
  report('27 duplicate delivery ×3', 'one effect', {
    submissions: 3,
    jobs: 1,
    deliveries: scene.deliveries.get(id) ?? 0,
    effects: scene.effects.size,
    'results accepted': accepted,
  })
})

it('a consumer that is killed before it could say so has not done the job twice', async () => {
  let open = () => {}
  scene.gate = new Promise((resolve) => open = resolve)
  const id = await scene.submit('effect')
  const doomed = await scene.worker()
  await delivered(id, 1)
  const effect = scene.effects.get(id)
  doomed.signal('SIGKILL')
  open()
  const successor = await scene.worker()
  await isOver(id, 'done')
  await successor.wrote(/^settled/m)
  const state = await scene.state(id)
  expect(JSON.parse(JSON.parse(state.result ?? '').text)).toEqual({ effect })
  expect([state.attempt, state.failures, scene.effects.size, scene.deliveries.get(id)]).toEqual([2, 1, 1, 2])
  expect(outcomesOf([doomed, successor], id)).toEqual([{ id, attempt: 2, accepted: true }])
  report('28 consumer killed before ack', 'deduplicated', {
    deliveries: 2,
    effects: scene.effects.size,
    'results accepted': 1,
  })
})

it('a job that takes its consumers down is buried, and others are done', async () => {
  const poison = await scene.submit('poison')
  const sound = await Promise.all(Array.from({ length: 20 }, () => scene.submit('effect')))
  let killed = 0
  // As a supervisor would: whoever falls is replaced.
  for (
    let worker = await scene.worker().catch(() => undefined);;
    worker = await scene.worker().catch(() => undefined)
  ) {
    if (worker) {
      await Promise.race([worker.ended, isOver(poison, 'dead')])
      if ((await scene.state(poison)).state === 'dead') break
    }
    expect(++killed).toBeLessThanOrEqual(3)
  }
  for (const id of sound) await isOver(id, 'done')
  const { failures, reason } = await scene.state(poison)
  expect(failures).toBe(3)
  expect(await scene.desk.dead('us', 10)).toMatchObject([{ id: poison }])
  expect(reason).toContain('vanished')
  report('29 poison job', 'dead letter', {
    'consumers killed': killed,
    'attempts before it was buried': failures,
    'others done': sound.length,
    reason: JSON.parse(reason ?? '').message,
  })
}, 120_000)
