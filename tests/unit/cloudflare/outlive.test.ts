import { describe, expect, it } from 'vitest'
import { outlivingBlobs, outlivingLeases } from '../../../functions/gateway/outlive.ts'
import { EMPTY, readAll } from '../../../shared/base/bytes.ts'
import type { BlobStore } from '../../../shared/models/blob_store.ts'
import type { LeaseStore } from '../../../shared/stores/lease_store.ts'
import { realTime } from '../../conformance/expectations.ts'

/** An object whose bytes come when the test says so. */
function slowBlob(size: number) {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  const blobs = { open: async () => ({ size, stream: readable }) } as unknown as BlobStore
  return { blobs, write: () => writer.write(new Uint8Array(size)).then(() => writer.close()) }
}

/** Notes what is kept alive, and whether it has settled. */
function keeper() {
  const kept: Promise<unknown>[] = []
  return { keepAlive: (work: Promise<unknown>) => void kept.push(work), kept }
}

const pending = Symbol('pending')
const state = (work: Promise<unknown> | undefined) => Promise.race([work, realTime(20).then(() => pending)])

describe('reads that outlive their request', () => {
  it('are kept alive until a small object is here to its last byte', async () => {
    const { blobs, write } = slowBlob(1000)
    const { keepAlive, kept } = keeper()
    const opened = outlivingBlobs(blobs, keepAlive).open('models/a/1.json')
    expect(kept).toHaveLength(1)
    expect(await state(kept[0])).toBe(pending)
    await write()
    expect(await state(kept[0])).not.toBe(pending)
    const found = await opened
    expect(found?.size).toBe(1000)
    expect((await readAll(found?.stream ?? null, 2000))?.byteLength).toBe(1000)
  })

  it('leave a large object to be streamed', async () => {
    const { blobs, write } = slowBlob(2 << 20)
    const { keepAlive, kept } = keeper()
    const found = await outlivingBlobs(blobs, keepAlive).open('blobs/x')
    expect(await state(kept[0])).not.toBe(pending)
    void write()
    expect((await readAll(found?.stream ?? null, 2 << 20))?.byteLength).toBe(2 << 20)
  })

  it('find nothing where there is nothing', async () => {
    const none = { open: async () => undefined } as unknown as BlobStore
    expect(await outlivingBlobs(none, () => {}).open('blobs/x')).toBeUndefined()
    const empty = { open: async () => ({ size: 0, stream: new Blob([EMPTY]).stream() }) } as unknown as BlobStore
    expect(await outlivingBlobs(empty, () => {}).open('blobs/x')).toMatchObject({ size: 0 })
  })

  it('are kept alive without their failure, which is their caller’s', async () => {
    const away = { list: () => Promise.reject(new Error('away')) } as unknown as LeaseStore & BlobStore
    for (const open of [outlivingLeases, outlivingBlobs] as const) {
      const { keepAlive, kept } = keeper()
      await expect(open(away, keepAlive).list('x')).rejects.toThrow('away')
      await expect(kept[0]).resolves.toBeUndefined()
    }
  })
})
