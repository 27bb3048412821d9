import { expect, it } from 'vitest'
import { startProcess, temporaryFolder } from '../fixtures/process.ts'
import { gatewaySuite } from './gateway_suite.ts'
import { denoArguments, denoPath, startOnDeno } from './start_deno_gateway.ts'
import { startInProcess } from './start_node_gateway.ts'

gatewaySuite('gateway on Deno', startOnDeno)

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
