import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { decodeUtf8 } from '../../../shared/base/bytes.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import { DataRows } from '../../../shared/training/data_rows.ts'
import { feedShard } from '../../../shared/training/feeds.ts'
import { type Plan, plan as planSchema } from '../../../shared/training/plan.ts'
import { ShardFeeds } from '../../../shared/training/shard_feeds.ts'
import { wasmEngine } from './local_pool.ts'
import { prepareTask, type Task } from './train.ts'

let engine: Engine
let task: Task
let plan: Plan
beforeAll(async () => {
  engine = await wasmEngine()
  task = await prepareTask(engine)
  plan = planSchema.parse(JSON.parse(decodeUtf8(await task.blobs.blob(task.prepared.training.sha256))))
})
afterAll(() => engine.close())

const { signal } = new AbortController()

function open() {
  const data = new DataRows(task.blobs)
  const feeds = new ShardFeeds(data)
  const read = vi.spyOn(data, 'read')
  /** One call for one shard, as a worker does it. */
  const step = async (dataStep: number, shard: number) => {
    const place = { plan: 'p', dataStep, shard }
    feeds.called(place)
    feeds.forgetBefore(place)
    const before = read.mock.calls.length
    const inputs = await feeds.take(place, plan, signal)
    const reads = read.mock.calls.length - before
    feeds.prepareNextStep(plan)
    return { inputs, reads }
  }
  return { data, step }
}

it('rows of a shard that comes in each step are read before the step', async () => {
  const { data, step } = open()
  const perShard = plan.feeds.length
  expect([(await step(0, 2)).reads, (await step(1, 2)).reads]).toEqual([perShard, perShard])
  for (const dataStep of [2, 3]) {
    const { inputs, reads } = await step(dataStep, 2)
    expect(reads).toBe(0)
    expect(inputs).toEqual(await feedShard(plan, data, dataStep, 2, signal))
  }
})

it('a shard that was not foreseen is read as it comes, and what was made for another is let go', async () => {
  const { data, step } = open()
  for (const dataStep of [0, 1]) await step(dataStep, 2)
  const { inputs, reads } = await step(2, 3)
  expect(reads).toBe(plan.feeds.length)
  expect(inputs).toEqual(await feedShard(plan, data, 2, 3, signal))
  // Nothing is made ahead until shards come regularly again.
  expect((await step(3, 2)).reads).toBe(plan.feeds.length)
  expect((await step(4, 3)).reads).toBe(plan.feeds.length)
})
