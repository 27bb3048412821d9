import { readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../../shared/base/clock.ts'
import { ModelCatalog } from '../../../shared/models/catalog.ts'
import { FileBlobStore } from '../../../shared/models/file_blob_store.ts'
import { eventually } from '../../conformance/expectations.ts'
import { startEcho } from '../../conformance/gateway_echo.ts'
import { ask, bearer } from '../../conformance/gateway_http.ts'
import { fixedModel } from '../../fixtures/models.ts'
import { runCli, type Running, startCli, startProcess, temporaryFolder } from '../../fixtures/process.ts'
import { runHere } from './in_process.ts'

const READY = /^shoal ready (http:\/\/127\.0\.0\.1:\d+)$/m
const FISH = 'functions/demo/fish.png'

/** Presses Ctrl-C in the terminal of a command line: every process of it gets the signal. */
async function pressCtrlC(running: Running): Promise<void> {
  process.kill(-running.pid, 'SIGINT')
  const { code, signal, stdout } = await running.ended
  expect([code, signal]).toEqual([0, null])
  expect(stdout).toContain('stopping: finishing what is in flight')
  // Nothing of it is left behind.
  expect(() => process.kill(-running.pid, 0)).toThrow('ESRCH')
}

describe('npm start', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let running: Running
  let url: string
  beforeAll(async () => {
    folder = await temporaryFolder()
    const args = ['start', '--', '--port', '0', '--data-dir', join(folder.path, 'data')]
    running = startProcess('npm', args, { ownGroup: true })
    url = (await running.wrote(READY))[1] ?? ''
  })
  afterAll(() => folder[Symbol.asyncDispose]())

  it('is ready once it has answered a real call, and shows result and time', async () => {
    const before = running.output().slice(0, running.output().search(READY))
    expect(before).toMatch(/^store +SQLite at /m)
    expect(before).toMatch(/^keys +none needed on loopback$/m)
    expect(before).toMatch(/^worker +local-1 \(wasm, /m)
    expect(before).toMatch(/^result +cartoon\(fish\.png\): mean colour #[0-9a-f]{6}, right to \S+ \(\S+ allowed\)$/m)
    expect(before).toMatch(/^time +[\d.]+ ms: queue [\d.]+, load [\d.]+, wait [\d.]+, run [\d.]+, wire [\d.]+$/m)
    const [next = ''] = await running.wrote(/^ +npx shoal call .*$/m)
    expect(next).toContain(`--gateway ${url}`)
  })

  it('answers the line that it says to paste', async () => {
    const out = join(folder.path, 'out')
    const args = ['call', 'cartoon', `image=@${FISH}`, '--out', out, '--gateway', url]
    const { code, stdout, stderr } = await runCli(args)
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^outlines {2}float32\[1,1,64,64\] {2}[\d., e-]+, … 4088 more$/m)
    expect(stdout).toMatch(/^color {5}float32\[1,3\] +0\.5\d+, 0\.6\d+, 0\.6\d+$/m)
    expect(stdout).toMatch(/^answered by w_[0-9a-f]+ on wasm \(ms: queue [\d.]+, .*run [\d.]+/m)
    for (const name of ['outlines', 'cartoon']) {
      expect(stdout).toContain(`wrote ${join(out, name)}.png`)
      expect((await readFile(join(out, `${name}.png`))).subarray(1, 4).toString()).toBe('PNG')
    }
  })

  it('lists its models', async () => {
    const { stdout } = await runCli(['models', 'list', '--gateway', url])
    expect(stdout).toMatch(/^cartoon +1 +- +\d+ +image float32\[/m)
    const json = await runCli(['models', 'list', '--json'], { env: { SHOAL_GATEWAY: url } })
    expect(JSON.parse(json.stdout)).toMatchObject([
      { name: 'cartoon', version: '1' },
      { name: 'digits', version: '1', labels: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'] },
    ])
  })

  it('lets the command line call a function', async () => {
    await using echo = await startEcho('demo.Called')
    await ask(url, 'POST', '/registry/instances', { json: echo.record })
    const { code, stdout } = await runCli(['call', 'demo.Called/echo', '{"text":"sea"}', '--gateway', url])
    expect([code, JSON.parse(stdout)]).toMatchObject([0, { text: 'sea', copy: echo.record.id }])
    const refused = await runCli(['call', 'demo.Called/refuse', '--gateway', url])
    expect([refused.code, refused.stderr]).toEqual([1, 'shoal: Cannot echo twice\n'])
  })

  it('ends at Ctrl-C with exit code 0', () => pressCtrlC(running))

  it('left nothing in its data folder that keeps the next one from starting', async () => {
    const args = ['functions/cli/shoal.mjs', 'start', '--port', '0', '--data-dir', join(folder.path, 'data')]
    const path = (process.env.PATH ?? '').split(delimiter).filter((part) => !part.includes('node_modules'))
    // This machine's own Node may be an older one, which starts a newer: two processes that get the signal.
    const again = startProcess('node', args, { ownGroup: true, path: path.join(delimiter) })
    await again.wrote(READY)
    await pressCtrlC(again)
  })
})

describe('shoal start with a model of its own name', () => {
  it('leaves it as it was pushed', async () => {
    await using folder = await temporaryFolder()
    const blobs = new FileBlobStore(join(folder.path, 'models'))
    const own = await new ModelCatalog(blobs, { clock: systemClock }).push('digits', '1', fixedModel())
    const running = startCli(['start', '--port', '0', '--workers', '0', '--data-dir', folder.path])
    try {
      const [, url = ''] = await running.wrote(READY)
      expect(running.output()).toMatch(/^model +digits stays as it was pushed$/m)
      const { json } = await ask(url, 'GET', '/models')
      expect(json.models).toMatchObject([{ name: 'cartoon' }, { name: 'digits', sha256: own.sha256 }])
    } finally {
      const { code, stderr } = await running.stop()
      expect([code, stderr]).toEqual([0, ''])
    }
  })
})

describe('shoal start with keys', () => {
  it('takes the keys that the command line makes, until it removes them', async () => {
    await using folder = await temporaryFolder()
    const data = ['--data-dir', folder.path]
    const keys = async (...args: string[]) => (await runHere(['keys', ...args, ...data])).stdout
    expect(await keys('list')).toMatch(/^no keys/)
    const caller = (await keys('create', '--scope', 'call')).trim()
    const admin = (await keys('create', '--scope', 'worker,admin')).trim()
    expect(caller).toMatch(/^shoal_[0-9a-f]{12}_[0-9a-f]{64}$/)
    const [, callerId = ''] = caller.split('_')
    expect(await keys('list')).toMatch(
      new RegExp(`^id +created +scopes\\n${callerId} {2}\\S+ {2}call\\n[0-9a-f]{12} {2}\\S+ {2}worker,admin\\n$`),
    )
    for (const key of [caller, admin]) expect(await keys('list', '--json')).not.toContain(key.split('_')[2])

    const running = startCli(['start', '--port', '0', ...data])
    try {
      const [, url = ''] = await running.wrote(READY)
      // Its own worker and its demo call are let in by a key that lives as long as it does.
      expect(running.output()).toMatch(/^keys +required$[^]*^result +cartoon/m)
      const workers = (headers: Record<string, string>) => ask(url, 'GET', '/workers', { headers })
      expect((await workers({})).status).toBe(401)
      expect((await workers(bearer(caller))).json.workers).toHaveLength(1)
      const call = ['call', 'cartoon', `image=@${FISH}`, '--gateway', url]
      expect((await runHere([...call, '--key', caller])).stdout).toMatch(/^answered by /m)
      expect(await runHere(call)).toEqual({ stdout: '', line: expect.stringMatching(/^shoal: .*API key/) })
      const push = ['models', 'push', 'functions/demo/cartoon.onnx', '--name', 'again', '--gateway', url, '--key']
      expect((await runHere([...push, admin])).stdout).toContain('pushed again version 1')
      expect((await runHere([...push, caller])).line).toMatch(/scope "admin" is required, got call/)
      const listed = await runCli(['models', 'list'], { env: { SHOAL_GATEWAY: url, SHOAL_KEY: caller } })
      expect(listed.stdout).toMatch(/^again .*\ncartoon /m)

      expect(await keys('remove', callerId)).toBe('')
      await eventually(async () => (await workers(bearer(caller))).status === 401)
      expect((await workers(bearer(admin))).status).toBe(200)
      const late = (await keys('create', '--scope', 'call')).trim()
      await eventually(async () => (await workers(bearer(late))).status === 200)
    } finally {
      const { code, stderr } = await running.stop()
      expect([code, stderr]).toEqual([0, ''])
    }
  })
})
