import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findOnPath, ROOT, run } from '../../../infra/tools.ts'

describe('findOnPath', () => {
  let root: string
  const folder = (name: string) => join(root, name)
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'shoal-tools-'))
    for (const name of ['a', 'b', 'a/folder']) mkdirSync(folder(name))
    for (const file of ['a/plain', 'b/plain', 'b/other']) writeFileSync(folder(file), '')
    for (const file of ['b/plain', 'b/other']) chmodSync(folder(file), 0o755)
  })
  afterAll(() => rmSync(root, { recursive: true }))

  it('takes the first name that is an executable file', () => {
    const path = ['', folder('missing'), folder('a'), folder('b')].join(delimiter)
    expect(findOnPath(['plain'], path)).toBe(folder('b/plain'))
    expect(findOnPath(['missing', 'other', 'plain'], path)).toBe(folder('b/other'))
    expect(findOnPath(['folder', 'missing'], path)).toBeUndefined()
    expect(findOnPath(['plain'], '')).toBeUndefined()
  })
})

describe('run', () => {
  it('gives exit code and output, from the root and under the pinned Node', async () => {
    const script = 'console.log(process.cwd(), process.env.X, process.version); console.error(2); process.exit(3)'
    const { code, output } = await run('node', ['-e', script], 'capture', { X: 'x' })
    expect(code).toBe(3)
    expect(output).toContain(`${ROOT} x v24.`)
    expect(output).toContain('\n2\n')
  })

  it('fails, and does not throw, if the program does not exist', async () => {
    const { code, output } = await run('no-such-program', [], 'capture')
    expect(code).toBe(1)
    expect(output).toContain('Cannot start no-such-program')
  })

  it('counts an end by a signal as failure', async () => {
    expect((await run('node', ['-e', "process.kill(process.pid, 'SIGKILL')"], 'capture')).code).toBe(1)
  })
})
