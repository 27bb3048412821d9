import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Engine } from '../../../shared/engine/engine.ts'
import { readCheckpoint } from '../../../shared/training/checkpoint.ts'
import type { TrainingEvent } from '../../../shared/training/coordinator.ts'
import { adam } from '../../../shared/training/optimizers.ts'
import { LocalPool, wasmEngine } from './local_pool.ts'
import { prepareTask, type Task, temporaryRuns, trainOn } from './train.ts'

let engine: Engine
let task: Task
beforeAll(async () => {
  engine = await wasmEngine()
  task = await prepareTask(engine, { validationRows: 60 })
})
afterAll(() => engine.close())

const optimizer = adam({ learningRate: 0.01 })

function pool(workers = 2): LocalPool {
  const made = new LocalPool()
  for (let i = 0; i < workers; i++) made.addWorker(engine, task.blobs)
  return made
}

describe('coordinator', () => {
  it('goes on from a checkpoint to the same bits, wherever it was cut', async () => {
    const { prepared } = task
    await using whole = await temporaryRuns()
    const expected = await trainOn({ prepared, optimizer, pool: pool(), runs: whole, steps: 24 })
    for (const cut of [1, 4, 7, 12]) {
      await using runs = await temporaryRuns()
      await trainOn({ prepared, optimizer, pool: pool(), runs, steps: cut })
      const resumed = await trainOn({ prepared, optimizer, pool: pool(1), runs, steps: 24 })
      expect(resumed.parameters, `cut at ${cut}`).toEqual(expected.parameters)
      expect(resumed.losses).toEqual(expected.losses)
      expect(resumed.evaluations).toEqual(expected.evaluations)
    }
  })

  it('begins nothing that has a checkpoint, unless it is to go on', async () => {
    const { prepared } = task
    await using runs = await temporaryRuns()
    await trainOn({ prepared, optimizer, pool: pool(), runs, steps: 2 })
    await expect(trainOn({ prepared, optimizer, pool: pool(), runs, steps: 4, resume: false }))
      .rejects.toMatchObject({ code: 'already_exists' })
    await expect(trainOn({ prepared, optimizer, pool: pool(), runs, steps: 4, optimizerName: 'another' }))
      .rejects.toThrow('its optimizer must be of the test')
  })

  it('is refused by store and workers alike once another leads', async () => {
    const { prepared } = task
    await using runs = await temporaryRuns()
    const members = pool()
    const events: TrainingEvent[] = []
    const first = trainOn({
      prepared,
      optimizer,
      pool: members,
      runs,
      steps: 1000,
      async onEvent(event) {
        events.push(event)
        if (event.type !== 'step' || event.step !== 5) return
        // Its lease runs out unseen, as that of a paused process does.
        await runs.store.admit('test', Number.MAX_SAFE_INTEGER)
      },
    })
    await expect(first).rejects.toMatchObject({ code: 'aborted' })
    // That of the epoch's end, before the other came, is the last.
    expect(events.filter(({ type }) => type === 'checkpointed').map(({ step }) => step)).toEqual([4])
    const kept = await runs.store.load('test')
    expect(kept && readCheckpoint(kept).description.step).toBe(4)
  })

  it('validates after every epoch on the rows held back, and on all of them', async () => {
    const { prepared } = task
    await using runs = await temporaryRuns()
    const coordinator = await trainOn({ prepared, optimizer, pool: pool(), runs, steps: 12 })
    // 240 rows in steps of 64 are four steps. Cut at step 12, the third validation is the next run's.
    expect(coordinator.evaluations.map(({ step }) => step)).toEqual([4, 8])
    const shares = coordinator.evaluations.map(({ accuracy = NaN }) => accuracy * 60)
    for (const right of shares) expect(Math.abs(right - Math.round(right))).toBeLessThan(1e-4)
    const [first, second] = coordinator.evaluations
    expect(second?.loss).toBeLessThan(first?.loss ?? 0)
  })

  it('stops early when validation gets no better', async () => {
    const { prepared } = task
    await using runs = await temporaryRuns()
    const events: TrainingEvent[] = []
    await trainOn({
      prepared,
      optimizer: adam({ learningRate: 0.3 }),
      pool: pool(),
      runs,
      steps: 4000,
      patience: 2,
      onEvent: (event) => void events.push(event),
    })
    const last = events.at(-1)
    expect(last).toMatchObject({ type: 'ended', reason: 'stopped early' })
    const losses = events.flatMap((event) => event.type === 'evaluated' ? [event.evaluation.loss] : [])
    expect(losses.indexOf(Math.min(...losses))).toBe(losses.length - 3)
  })
})
