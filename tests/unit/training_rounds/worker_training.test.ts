import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../../shared/base/bytes.ts'
import type { Fence } from '../../../shared/contracts/training.ts'
import { Training } from '../../../shared/contracts/training.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { ReduceTree } from '../../../shared/training/reduce_tree.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { LocalPool, wasmEngine } from './local_pool.ts'
import { prepareTask, type Task } from './train.ts'

let engine: Engine
let task: Task
let values: Tensor<'float32'>
let fence: Fence
beforeAll(async () => {
  engine = await wasmEngine()
  task = await prepareTask(engine)
  values = Tensor.from('float32', [task.prepared.initial.length], task.prepared.initial)
  fence = { run: 'r', epoch: 2, step: 5, parameters: await sha256Hex(values.bytes) }
})
afterAll(() => engine.close())

function worker(on: Engine = engine) {
  const pool = new LocalPool()
  pool.addWorker(on, task.blobs)
  const [callee] = pool.list()
  if (!callee) throw new Error('no worker')
  const client = clientOver(Training, { transport: { send: callee.send, codec: 'tensors', close() {} } })
  const { sha256: plan, length } = task.prepared.training
  const shard = { fence, plan, length, attempt: 3, dataStep: 1, from: 0, to: 1, format: 'fp32' as const }
  return { client, shard }
}

const sumOf = (answer: { sum: Record<string, Tensor> }) => answer.sum.sum?.data as Float32Array

describe('a worker', () => {
  it('computes the same bits each time, and a block as the tree of its shards', async () => {
    const { client, shard } = worker()
    const block = await client.reduce({ ...shard, from: 0, to: 4, values })
    expect(block).toMatchObject({ fence, attempt: 3, workers: 1 })
    const tree = new ReduceTree({ from: 0, to: 4 }, shard.length)
    for (const from of [2, 0, 3, 1]) {
      const one = await client.reduce({ ...shard, from, to: from + 1 })
      tree.add({ from, to: from + 1, sum: sumOf(one) })
    }
    expect(sumOf(block)).toEqual(tree.sum)
    // Σ w of four shards of eight rows.
    expect(sumOf(block).at(-1)).toBe(32)
  })

  it('asks for parameters that it has not, or no longer', async () => {
    const { client, shard } = worker()
    const missing = { code: 'failed_precondition', details: [{ missing: 'parameters' }] }
    await expect(client.reduce(shard)).rejects.toMatchObject(missing)
    await client.reduce({ ...shard, values })
    await expect(client.reduce(shard)).resolves.toBeDefined()
    await expect(client.reduce({ ...shard, fence: { ...fence, step: 6, parameters: 'c'.repeat(64) } }))
      .rejects.toMatchObject(missing)
  })

  it('refuses an earlier epoch or step, and parameters that are not what they say', async () => {
    const { client, shard } = worker()
    await client.reduce({ ...shard, values })
    for (const old of [{ ...fence, epoch: 1, step: 9 }, { ...fence, step: 4 }]) {
      await expect(client.reduce({ ...shard, fence: old, values })).rejects.toMatchObject({ code: 'aborted' })
    }
    // Another run has its own epochs.
    await expect(client.reduce({ ...shard, fence: { ...fence, run: 's', epoch: 1 }, values })).resolves.toBeDefined()
    const wrong = { ...shard, fence: { ...fence, step: 6, parameters: 'd'.repeat(64) }, values }
    await expect(client.reduce(wrong)).rejects.toMatchObject({ code: 'data_loss' })
  })

  it('refuses shards, lengths, parameters and plans that do not fit, saying which', async () => {
    const { client, shard } = worker()
    const refused = (change: object, text: string) =>
      expect(client.reduce({ ...shard, values, ...change })).rejects.toThrow(text)
    await refused({ from: 8, to: 9 }, 'the plan has 8')
    await refused({ from: 1, to: 3 }, 'aligned block')
    await refused({ length: 5 }, `sums have ${shard.length} values, 5 were asked for`)
    const short = Tensor.from('float32', [3], [1, 2, 3])
    const shortFence = { ...fence, parameters: await sha256Hex(short.bytes) }
    await refused({ values: short, fence: shortFence }, `must be float32 [${values.size}]`)
    await refused({ plan: 'e'.repeat(64) }, 'nothing was put there')
    const noPlan = await task.blobs.put(new TextEncoder().encode('{"graph": 1}'))
    await refused({ plan: noPlan }, 'Cannot read the plan: at "graph"')
    const noJson = await task.blobs.put(new TextEncoder().encode('plan'))
    await refused({ plan: noJson }, 'must be JSON')
  })

  it('loads the graph anew when the engine has been restarted', async () => {
    const { client, shard } = worker()
    const before = await client.reduce({ ...shard, values })
    const { graph } = JSON.parse(new TextDecoder().decode(await task.blobs.blob(shard.plan))) as { graph: string }
    await engine.unload(graph)
    expect(sumOf(await client.reduce(shard))).toEqual(sumOf(before))
  })

  it('tells of a lost device as it is, so that the shard goes elsewhere', async () => {
    const lost: Engine = {
      ...engine,
      info: engine.info,
      load: (key, bytes) => engine.load(key, bytes),
      run: () => Promise.reject(new RpcError('unavailable', 'Cannot run: the device is lost')),
      unload: (key) => engine.unload(key),
      close: () => Promise.resolve(),
    }
    const { client, shard } = worker(lost)
    await expect(client.reduce({ ...shard, values })).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('rounds where it is asked to, and keeps what it rounded off for the next step', async () => {
    const { client, shard } = worker()
    const exact = sumOf(await client.reduce({ ...shard, values }))
    const { sum } = await client.reduce({ ...shard, format: 'int8' })
    expect(sum.codes?.dtype).toBe('int8')
    expect((sum.tail?.data as Float32Array)[1]).toBe(exact.at(-1))
    const next = { ...shard, format: 'int8' as const, fence: { ...fence, step: 6 }, values }
    // The same gradient one step later, with the error of the step before added: other codes.
    const second = await client.reduce(next)
    expect(second.sum.codes?.bytes).not.toEqual(sum.codes?.bytes)
  })
})
