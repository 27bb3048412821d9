import { stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { makeFolder } from '../../../shared/stores/file_folder.ts'
import { temporaryFolder } from '../../fixtures/process.ts'

describe('making a folder', () => {
  it('makes those above it, and takes one that is there', async () => {
    await using folder = await temporaryFolder()
    const path = join(folder.path, 'a', 'b', 'c')
    await makeFolder(path)
    expect((await stat(path)).isDirectory()).toBe(true)
    await makeFolder(path)
    await makeFolder(`${path}/`)
    await makeFolder('/')
    await makeFolder('.')
    await symlink(path, join(folder.path, 'link'))
    await makeFolder(join(folder.path, 'link'))
    await makeFolder(join(folder.path, 'link', 'd'))
    expect((await stat(join(path, 'd'))).isDirectory()).toBe(true)
  })

  it('several at once make the same one', async () => {
    await using folder = await temporaryFolder()
    const path = join(folder.path, ...'abcdefgh')
    await Promise.all(Array.from({ length: 20 }, () => makeFolder(path)))
    expect((await stat(path)).isDirectory()).toBe(true)
  })

  it('a file in the way is the system’s error', async () => {
    await using folder = await temporaryFolder()
    const path = join(folder.path, 'file')
    await writeFile(path, '')
    await expect(makeFolder(path)).rejects.toMatchObject({ code: 'EEXIST', path })
    await expect(makeFolder(join(path, 'a'))).rejects.toMatchObject({ code: 'ENOTDIR' })
    await expect(makeFolder(join(path, 'a', 'b'))).rejects.toMatchObject({ code: 'ENOTDIR' })
    await symlink(join(folder.path, 'nothing'), join(folder.path, 'dangling'))
    await expect(makeFolder(join(folder.path, 'dangling'))).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it('one that takes no folders is said, and not tried for ever', async () => {
    for (const path of ['/proc/x', '/proc/x/y/z']) {
      await expect(makeFolder(path)).rejects.toMatchObject({
        code: 'failed_precondition',
        message: 'Cannot make the folder /proc/x: /proc must take new folders, got one that takes none',
      })
    }
  })
})
