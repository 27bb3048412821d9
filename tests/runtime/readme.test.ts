import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROOT, type Running, startCli, startProcess, temporaryFolder } from '../fixtures/process.ts'

/** Where the README has `npm start` listen. */
const DEFAULT_URL = 'http://127.0.0.1:8787'

describe('what the README says works as it stands, in a project that has Shoal as a dependency', () => {
  let project: Awaited<ReturnType<typeof temporaryFolder>>
  let started: Running
  let url: string
  let readme: string
  beforeAll(async () => {
    readme = await readFile(join(ROOT, 'README.md'), 'utf8')
    project = await temporaryFolder()
    const modules = join(project.path, 'node_modules')
    await mkdir(modules)
    await symlink(ROOT, join(modules, 'shoal'))
    await symlink(join(ROOT, 'node_modules/zod'), join(modules, 'zod'))
    const dependencies = { shoal: '*', zod: '*' }
    await writeFile(join(project.path, 'package.json'), JSON.stringify({ type: 'module', dependencies }))
    await writeFile(join(project.path, 'deno.json'), '{"unstable": ["no-legacy-abort"]}')
    started = startCli(['start', '--port', '0', '--data-dir', join(project.path, 'data')])
    url = (await started.wrote(/^shoal ready (http:\S+)$/m))[1] ?? ''
  }, 120_000)
  afterAll(async () => {
    const { code, stderr } = await started.stop()
    await project[Symbol.asyncDispose]()
    expect([code, stderr]).toEqual([0, ''])
  })

  /** The first block of a language that holds a text, calling the gateway of this test. */
  const block = (language: string, holding: string): string => {
    for (const [, kind, code = ''] of readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
      if (kind === language && code.includes(holding)) return code.replaceAll(DEFAULT_URL, url)
    }
    throw new Error(`the README must have a block of ${language} with "${holding}"`)
  }
  const runtimes: readonly [command: 'node' | 'deno', args: string[]][] = [
    ['node', []],
    ['deno', ['run', '-A', '--node-modules-dir=manual', '--no-lock']],
  ]

  it('curl', async () => {
    const { code, stdout } = await startProcess('bash', ['-c', block('sh', 'curl ')]).ended
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ outputs: [{ name: 'color', shape: [1, 3], data: [0.5, 0.5, 0.5] }] })
  })

  it.for(runtimes)('the client, on %s', async ([command, args]) => {
    const file = join(project.path, `call_${command}.ts`)
    await writeFile(file, `${block('ts', 'jobs({ gateway })')}\nconsole.log(Object.keys(result.outputs).join())\n`)
    const { code, stdout, stderr } = await startProcess(command, [...args, file], { cwd: project.path }).ended
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^\[ 1, 3 \] Float32Array\(3\) \[ 0\.5, 0\.5, 0\.5 \]\n.*color\n$/)
  })

  it.for(runtimes)(
    'the function, on %s: in memory, over a socket and through the gateway',
    async ([command, args]) => {
      await writeFile(join(project.path, 'hello.ts'), block('ts', 'export default serve'))
      const run = command === 'node' ? 'runOnNode' : 'runOnDeno'
      expect(readme).toContain(`\`${run}`)
      const file = join(project.path, `use_${command}.ts`)
      await writeFile(
        file,
        `
import { connectWebSocket, createClient, memoryTransport } from 'shoal'
import { ${run} } from 'shoal/${command}'
import served, { Hello } from './hello.ts'
const running = await ${run}(served, { env: { SHOAL_GATEWAY: '${url}' } })
const socket = await connectWebSocket(running.url.replace('http', 'ws') + '/rpc')
for (const way of [{ transport: memoryTransport(served.send) }, { transport: socket }, { gateway: '${url}' }]) {
  console.log((await createClient(Hello, way).sayHello({ name: 'sea' })).message)
}
socket.close()
await running.stop()
`,
      )
      const { code, stdout, stderr } = await startProcess(command, [...args, file], { cwd: project.path }).ended
      expect([code, stderr, stdout]).toEqual([0, '', 'hello sea\n'.repeat(3)])
    },
  )

  it('commands: each that it names is one', async () => {
    const named = new Set([...readme.matchAll(/npx shoal ([a-z]+)/g)].map(([, name = '']) => name))
    expect(named.size).toBeGreaterThan(6)
    for (const name of named) {
      const { code, stdout } = await startCli([name, '--help']).ended
      expect([name, code]).toEqual([name, 0])
      expect(stdout).toContain(`Usage: shoal ${name}`)
    }
  }, 60_000)
})
