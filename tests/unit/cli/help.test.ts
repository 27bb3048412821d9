import { delimiter } from 'node:path'
import process from 'node:process'
import { describe, expect, it } from 'vitest'
import { startProcess } from '../../fixtures/process.ts'
import { runHere } from './in_process.ts'

const COMMANDS = ['start', 'worker', 'models', 'call', 'jobs', 'train', 'openapi', 'keys', 'doctor', 'services']

describe('help', () => {
  it('lists the commands', async () => {
    for (const args of [[], ['--help'], ['-h'], ['help']]) {
      const { stdout, line } = await runHere(args)
      expect(line).toBe('')
      for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ +${command} +\\w`, 'm'))
    }
  })

  it('tells the version', async () => {
    for (const args of [['--version'], ['-v']]) {
      expect(await runHere(args)).toEqual({ stdout: expect.stringMatching(/^shoal \d+\.\d+\.\d+\n$/), line: '' })
    }
  })

  it.for(COMMANDS)('explains %s, whatever else stands beside it', async (command) => {
    for (const args of [[command, '--help'], [command, '--nothing', '-h']]) {
      const { stdout, line } = await runHere(args)
      expect(line).toBe('')
      expect(stdout).toContain(`Usage: shoal ${command}`)
    }
  })

  // A machine's own Node may be too old for TypeScript: the one installed beside Shoal takes over.
  const systemPath = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'))
  it.for([['this machine’s Node', systemPath.join(delimiter)], ['Node 24', undefined]] as const)(
    'comes by npx under %s',
    async ([, path]) => {
      const { code, stdout } = await startProcess('npx', ['shoal', '--help'], { path }).ended
      expect(code).toBe(0)
      expect(stdout).toContain('Usage: shoal COMMAND')
    },
  )
})
