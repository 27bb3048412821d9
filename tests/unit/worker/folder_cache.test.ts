import { readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { folderCache } from '../../../functions/worker/folder_cache.ts'
import { temporaryFolder } from '../../fixtures/process.ts'

const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(64)) as [string, string, string]

it('keeps what was used last, within its bytes, and no drafts of the dead', async () => {
  await using folder = await temporaryFolder()
  const cache = folderCache(folder.path, 25)
  const bytes = new Uint8Array(10)
  await cache.put(a, bytes)
  await cache.put(b, bytes)
  // Used in this order, long ago: b, then a.
  await utimes(join(folder.path, b), 1, 1)
  await utimes(join(folder.path, a), 2, 2)
  await writeFile(join(folder.path, '.old.draft'), 'x')
  await utimes(join(folder.path, '.old.draft'), 1, 1)
  await writeFile(join(folder.path, '.new.draft'), 'x')
  await cache.put(c, bytes)
  expect((await readdir(folder.path)).sort()).toEqual(['.new.draft', a, c])
  expect(await cache.get(a)).toEqual(bytes)
  await expect(cache.get(b)).rejects.toThrow()
  // Reading it made a the last used; one that is too large by itself is kept all the same.
  await utimes(join(folder.path, c), 3, 3)
  await cache.put(b, new Uint8Array(14))
  expect((await readdir(folder.path)).sort()).toEqual(['.new.draft', a, b])
  await cache.put(c, new Uint8Array(100))
  expect((await readdir(folder.path)).sort()).toEqual(['.new.draft', c])
})
