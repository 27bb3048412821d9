import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { identityModel } from '../fixtures/models.ts'
import { startProcess, temporaryFolder } from '../fixtures/process.ts'
import { eventually } from './expectations.ts'
import { ask } from './gateway_http.ts'
import { gatewaySuite } from './gateway_suite.ts'
import { denoArguments, denoPath, startOnDeno } from './start_deno_gateway.ts'
import { startInProcess } from './start_node_gateway.ts'

gatewaySuite('gateway on Deno', startOnDeno)

it.runIf(existsSync('/proc/self/fd'))('the gateway on Deno holds no file open for answers nobody reads', async () => {
  await using folder = await temporaryFolder()
  const running = startProcess(await denoPath(), [...denoArguments(folder.path), '--port', '0'])
  try {
    const [, url = ''] = await running.wrote(/^shoal ready (http:\S+)$/m)
    const { json } = await ask(url, 'PUT', '/models/large/versions/1', { body: identityModel('float32') })
    const path = `/blobs/${json.sha256}`
    const openFiles = async () => (await readdir(`/proc/${running.pid}/fd`)).length
    const before = await openFiles()
    for (let i = 0; i < 50; i++) {
      const { status, text } = await ask(url, 'HEAD', path)
      expect([status, text]).toEqual([200, ''])
    }
    await eventually(async () => await openFiles() < before + 10)
  } finally {
    await running.stop()
  }
})

it('the gateway on Deno says in one line why it cannot start', async () => {
  await using folder = await temporaryFolder()
  const other = await startInProcess([])
  try {
    const { port } = new URL(other.url)
    for (
      const [args, message] of [
        [['--port', port], `Cannot listen on 127.0.0.1:${port}: the port must be free`],
        [['--port', '0', '--host', '0.0.0.0'], 'an address other than loopback requires an API key'],
        [['--nothing'], "Unknown option '--nothing'"],
      ] as const
    ) {
      const running = startProcess(await denoPath(), [...denoArguments(folder.path), ...args])
      const { code, stdout, stderr } = await running.ended
      expect([code, stdout, stderr]).toEqual([1, '', expect.stringMatching(/^shoal: [^\n]*\n$/)])
      expect(stderr).toContain(message)
    }
  } finally {
    await other.close()
  }
})
