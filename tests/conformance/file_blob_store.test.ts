import { assert } from 'chai'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'vitest'
import { encodeUtf8 } from '../../shared/base/bytes.ts'
import { FileBlobStore } from '../../shared/models/file_blob_store.ts'
import { blobStoreSuite } from './blob_store_suite.ts'

async function openFolder() {
  const root = await mkdtemp(join(tmpdir(), 'shoal-blobs-'))
  return { root, store: new FileBlobStore(root), close: () => rm(root, { recursive: true }) }
}

const suite = blobStoreSuite('file blob store', openFolder)
describe(suite.name, () => {
  for (const [name, run] of Object.entries(suite.cases)) it(name, run)

  it('leaves nothing unfinished behind, whether it wrote or not', async () => {
    const { root, store, close } = await openFolder()
    try {
      await store.put('a', encodeUtf8('1'))
      await store.putIfAbsent('a', encodeUtf8('2'))
      await store.put('a/b', encodeUtf8('3')).catch(() => {})
      assert.deepEqual((await readdir(root)).sort(), ['a', '~unfinished'])
      assert.deepEqual(await readdir(join(root, '~unfinished')), [])
    } finally {
      await close()
    }
  })

  it('does not show what a killed writer left, nor files that are not its own', async () => {
    const { root, store, close } = await openFolder()
    try {
      await store.put('a', encodeUtf8('1'))
      await writeFile(join(root, '~unfinished', 'blob_killed'), 'half')
      await writeFile(join(root, 'my notes.txt'), 'notes')
      assert.deepEqual(await store.list(''), ['a'])
    } finally {
      await close()
    }
  })
})
