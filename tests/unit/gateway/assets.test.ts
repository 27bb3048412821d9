import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { fileAssets } from '../../../functions/gateway/assets.ts'
import { temporaryFolder } from '../../fixtures/process.ts'

describe('fileAssets', () => {
  it('serves the files of its folder with their types, and no other', async () => {
    await using folder = await temporaryFolder()
    const root = join(folder.path, 'assets')
    await mkdir(join(root, 'sub'), { recursive: true })
    // A folder beside it whose name begins as its own does.
    await mkdir(join(folder.path, 'assets-private'))
    await writeFile(join(root, 'a page.html'), '<p>')
    await writeFile(join(root, 'sub/code.js'), '1')
    await writeFile(join(folder.path, 'assets-private/key'), 'secret')
    await writeFile(join(folder.path, 'key'), 'secret')
    const assets = fileAssets(root)

    const page = await assets('/assets/a%20page.html')
    expect([await page.text(), page.headers.get('content-type')]).toEqual(['<p>', 'text/html; charset=utf-8'])
    const code = await assets('/assets/sub/code.js')
    expect([await code.text(), code.headers.get('content-type')]).toEqual(['1', 'text/javascript; charset=utf-8'])

    for (
      const path of [
        '/assets/..%2fassets-private%2fkey',
        '/assets/../assets-private/key',
        '/assets/..%2fkey',
        '/assets/sub/..%2f..%2fkey',
        '/assets/sub',
        '/assets/',
        '/assets/nothing.js',
        '/assets/a%00.js',
        '/assets/%',
        '/assets/%ff',
      ]
    ) {
      await expect(assets(path), path).rejects.toMatchObject({ code: 'not_found' })
    }
  })
})
