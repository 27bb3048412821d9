import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bearer } from '../../conformance/gateway_http.ts'
import type { GatewayUnderTest } from '../../conformance/gateway_suite.ts'
import { startByCli } from '../../conformance/start_cli_gateway.ts'
import { systemClock } from '../../../shared/base/clock.ts'
import { createKey } from '../../../shared/stores/keys.ts'
import { startProcess, temporaryFolder } from '../../fixtures/process.ts'
import { runHere } from './in_process.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
beforeAll(async () => {
  folder = await temporaryFolder()
})
afterAll(() => folder[Symbol.asyncDispose]())

describe('a gateway', () => {
  let gateway: GatewayUnderTest
  let admin: string
  let caller: string
  beforeAll(async () => {
    const keys = [await createKey(['admin'], systemClock), await createKey(['call'], systemClock)]
    ;[admin = '', caller = ''] = keys.map(({ text }) => text)
    gateway = await startByCli(keys.map(({ record }) => record))
  })
  afterAll(() => gateway.close())

  it('is described to its admin, with a profile and a heap snapshot', async () => {
    const [profile, heap] = ['cpuprofile', 'heapsnapshot'].map((kind) => join(folder.path, `one.${kind}`))
    const args = ['--profile', profile ?? '', '--seconds', '1', '--heap', heap ?? '']
    const { stdout, line } = await runHere(['doctor', '--gateway', gateway.url, '--key', admin, ...args])
    expect(line).toBe('')
    for (
      const name of ['gateway', 'memory', 'event loop', 'handles', 'store', 'workers', 'table age', 'profile']
    ) {
      expect(stdout).toMatch(new RegExp(`^${name} +\\S`, 'm'))
    }
    expect(stdout).toMatch(/^gateway +process \d+, up \d+ s, shoal \d/m)
    expect(JSON.parse(await readFile(profile ?? '', 'utf8')).nodes.length).toBeGreaterThan(0)
    expect(JSON.parse(await readFile(heap ?? '', 'utf8')).snapshot.meta.node_fields).toContain('self_size')
    // It holds keys and callers' inputs.
    expect((await stat(heap ?? '')).mode & 0o077).toBe(0)
  })

  it('is described as JSON', async () => {
    const { stdout } = await runHere(['doctor', '--gateway', gateway.url, '--key', admin, '--json'])
    expect(JSON.parse(stdout).report).toMatchObject({ role: 'gateway', parts: { workers: [] } })
  })

  it('tells nobody else', async () => {
    const { stdout, line } = await runHere(['doctor', '--gateway', gateway.url, '--key', caller])
    expect([stdout, line]).toEqual(['', expect.stringContaining('scope "admin" is required')])
    const answer = await fetch(`${gateway.url}/operations/heap-snapshot`, { method: 'POST', headers: bearer(caller) })
    expect(answer.status).toBe(403)
  })
})

describe('a process', () => {
  it('whose event loop is blocked is found by its port, and so is the loop that blocks it', async () => {
    // Another port than everybody's: other tests may inspect as well.
    await using stuck = stopping(startProcess('node', ['--inspect-port=0', 'tests/fixtures/stuck_process.ts']))
    const [, port = ''] = await stuck.wrote(/^listening on (\d+)$/m)
    const well = await runHere(['doctor', '--pid', String(stuck.pid)])
    expect(well.line).toBe('')
    expect(well.stdout).toMatch(/^worker +process \d+, up \d+ s/m)
    expect(well.stdout).not.toContain('blocked')

    await (await fetch(`http://127.0.0.1:${port}/`)).text()
    const { stdout, line } = await runHere(['doctor', '--gateway', `http://127.0.0.1:${port}`, '--json'])
    expect(line).toBe('')
    const { findings, stack, turns, report } = JSON.parse(stdout)
    expect(findings).toEqual([
      expect.stringContaining(`process ${stuck.pid} listens there`),
      expect.stringMatching(/blocked by spinForEver .*stuck_process\.ts:\d+/),
    ])
    expect([turns, report.role]).toEqual([false, 'worker'])
    expect(stack[0]).toContain('spinForEver')
  })

  it('that is not there, or is not Node’s, is left alone', async () => {
    expect((await runHere(['doctor', '--pid', '2147483647'])).line).toContain('--pid must be one that runs')
    await using sleeping = stopping(startProcess('sleep', ['60']))
    const { line } = await runHere(['doctor', '--pid', String(sleeping.pid)])
    expect(line).toContain('it must be a process of Node')
    sleeping.signal('SIGTERM')
    expect((await sleeping.ended).signal).toBe('SIGTERM')
  })
})

function stopping<T extends { signal(name: 'SIGKILL'): void; ended: Promise<unknown> }>(running: T) {
  return Object.assign(running, {
    async [Symbol.asyncDispose]() {
      running.signal('SIGKILL')
      await running.ended
    },
  })
}
