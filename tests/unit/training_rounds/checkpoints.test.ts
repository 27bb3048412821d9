import { describe, expect, it } from 'vitest'
import type { Bytes } from '../../../shared/base/bytes.ts'
import type { BlobStore } from '../../../shared/models/blob_store.ts'
import { FileBlobStore } from '../../../shared/models/file_blob_store.ts'
import { openSqliteFence } from '../../../shared/stores/sqlite_fence.ts'
import { type Checkpoint, checkSameRun, readCheckpoint, writeCheckpoint } from '../../../shared/training/checkpoint.ts'
import { flattenState, restoreState } from '../../../shared/training/optimizer_state.ts'
import { adam, chain, clipByGlobalNorm, sgd } from '../../../shared/training/optimizers.ts'
import { createRunStore } from '../../../shared/training/run_store.ts'
import { readSafetensors } from '../../../shared/training/safetensors.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { temporaryFolder } from '../../fixtures/process.ts'

const CHECKPOINT: Checkpoint = {
  description: {
    format: 'shoal-checkpoint-1',
    run: 'r',
    epoch: 3,
    step: 17,
    dataEpoch: 1,
    model: 'a'.repeat(64),
    opset: 17,
    settings: { loss: 'crossEntropy', batch: 8, shards: 2, seed: 1, format: 'fp32', validationRows: 0 },
    optimizer: 'adam',
    plan: 'b'.repeat(64),
    evaluations: [{ step: 10, loss: 0.5, accuracy: 0.9 }, { step: 20, loss: 0.4 }],
  },
  parameters: Float32Array.of(1, -2, 3.5),
  optimizer: flattenState({ 0: { step: 4, mean: Float32Array.of(1, 2, 3) } }),
  losses: Float64Array.of(2, 1 / 3),
}

describe('checkpoint', () => {
  it('gives back what was written', () => {
    expect(readCheckpoint(writeCheckpoint(CHECKPOINT))).toEqual(CHECKPOINT)
  })

  it('is a safetensors file that says what it is', () => {
    const { tensors, metadata } = readSafetensors(writeCheckpoint(CHECKPOINT))
    expect(Object.keys(tensors).sort()).toEqual(['losses', 'optimizer.0.mean', 'optimizer.0.step', 'parameters'])
    expect(JSON.parse(metadata.shoal ?? '')).toEqual(CHECKPOINT.description)
  })

  it('is refused when damaged', () => {
    const file = writeCheckpoint(CHECKPOINT)
    expect(() => readCheckpoint(file.subarray(0, file.length - 4))).toThrow('must be one that training has written')
    expect(() => readCheckpoint(new Uint8Array(0))).toThrow(RpcError)
    const renamed = {
      ...CHECKPOINT,
      description: { ...CHECKPOINT.description, format: 'other' as 'shoal-checkpoint-1' },
    }
    expect(() => readCheckpoint(writeCheckpoint(renamed))).toThrow('must be one that')
  })

  it('may only be gone on from as the same run', () => {
    const { description } = CHECKPOINT
    const other = (change: object) => () => checkSameRun(description, { ...description, ...change })
    expect(other({ step: 0, epoch: 9 })).not.toThrow()
    expect(other({ model: 'c'.repeat(64) })).toThrow('its model must be aaa')
    expect(other({ optimizer: 'sgd' })).toThrow('its optimizer must be adam as in the checkpoint, got sgd')
    expect(other({ settings: { ...description.settings, seed: 2 } })).toThrow('its seed must be 1')
    expect(other({ plan: 'd'.repeat(64) })).toThrow('data and graph')
  })
})

describe('optimizer state', () => {
  it('comes back through a file, step for step', () => {
    for (
      const optimizer of [
        chain(clipByGlobalNorm(1), adam({ learningRate: 0.1 })),
        sgd({ learningRate: 1, momentum: 0.9 }),
      ]
    ) {
      const parameters = Float32Array.of(1, 2, 3)
      const gradient = Float32Array.of(0.5, -3, 2)
      const { state } = optimizer.update(gradient, optimizer.init(3), parameters)
      const restored = restoreState(optimizer.init(3), flattenState(state))
      expect(restored).toEqual(state)
      expect(optimizer.update(gradient, restored, parameters)).toEqual(optimizer.update(gradient, state, parameters))
    }
  })

  it('of another size or optimizer is refused', () => {
    const tensors = flattenState(adam({ learningRate: 1 }).init(3))
    expect(() => restoreState(adam({ learningRate: 1 }).init(4), tensors)).toThrow('must be float32 [4]')
    expect(() => restoreState(sgd({ learningRate: 1, momentum: 0.9 }).init(3), tensors)).toThrow('"0.momentum"')
  })
})

describe('run store', () => {
  const bytes = (text: string) => new TextEncoder().encode(text) as Bytes
  const text = (found: Bytes | undefined) => found && new TextDecoder().decode(found)

  it('keeps the last checkpoint, and its file alone', async () => {
    await using folder = await temporaryFolder()
    const blobs = new FileBlobStore(folder.path)
    const fence = openSqliteFence(':memory:')
    const store = createRunStore(blobs, fence)
    expect(await store.load('r')).toBeUndefined()
    await store.commit('r', 1, 5, bytes('five'))
    await store.commit('r', 1, 6, bytes('six'))
    await store.commit('other', 1, 5, bytes('other'))
    await store.commit('r', 1, 6, bytes('six again'))
    expect(text(await store.load('r'))).toBe('six again')
    expect(await blobs.list('')).toEqual(['other/5-1.safetensors', 'r/6-1.safetensors'])
    await fence.close()
  })

  it('refuses an earlier epoch, from the moment a later one was admitted', async () => {
    await using folder = await temporaryFolder()
    const blobs = new FileBlobStore(folder.path)
    const fence = openSqliteFence(':memory:')
    const store = createRunStore(blobs, fence)
    await store.admit('r', 1)
    await store.commit('r', 1, 5, bytes('five'))
    await store.admit('r', 2)
    await expect(store.commit('r', 1, 6, bytes('late'))).rejects.toMatchObject({ code: 'aborted' })
    await expect(store.admit('r', 1)).rejects.toMatchObject({ code: 'aborted' })
    expect(text(await store.load('r'))).toBe('five')
    expect(await blobs.list('')).toEqual(['r/5-1.safetensors'])
    await store.commit('r', 2, 6, bytes('new'))
    expect(text(await store.load('r'))).toBe('new')
    await fence.close()
  })

  it('keeps the old checkpoint if it fails before the new one counts', async () => {
    await using folder = await temporaryFolder()
    const files = new FileBlobStore(folder.path)
    const fence = openSqliteFence(':memory:')
    let full = false
    const blobs = new Proxy<BlobStore>(files, {
      get: (target, name: keyof BlobStore) =>
        name === 'put' && full ? () => Promise.reject(new Error('disk full')) : target[name].bind(target),
    })
    const store = createRunStore(blobs, fence)
    await store.commit('r', 1, 5, bytes('five'))
    full = true
    await expect(store.commit('r', 1, 6, bytes('six'))).rejects.toThrow('disk full')
    expect(text(await store.load('r'))).toBe('five')
    await fence.close()
  })

  it('says so when a checkpoint that counts is gone', async () => {
    await using folder = await temporaryFolder()
    const blobs = new FileBlobStore(folder.path)
    const fence = openSqliteFence(':memory:')
    const store = createRunStore(blobs, fence)
    await store.commit('r', 1, 5, bytes('five'))
    await blobs.delete('r/5-1.safetensors')
    await expect(store.load('r')).rejects.toMatchObject({ code: 'data_loss' })
    await fence.close()
  })
})
