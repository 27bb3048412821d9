import { join } from 'node:path'
import { expect } from 'vitest'
import { startCli, temporaryFolder } from '../fixtures/process.ts'
import type { JoinWorker, StartGateway } from './gateway_suite.ts'

/** `shoal start` in a process of its own, without demo and worker. */
export const startByCli: StartGateway = async (keys) => {
  const folder = await temporaryFolder()
  const args = ['start', '--port', '0', '--workers', '0', '--no-demo', '--data-dir', join(folder.path, 'data')]
  const running = startCli(args, { env: keys.length > 0 ? { SHOAL_KEYS: JSON.stringify(keys) } : {} })
  const [, url = ''] = await running.wrote(/^shoal ready (http:\S+)$/m)
  return {
    url,
    async close() {
      const { code, stderr } = await running.stop()
      await folder[Symbol.asyncDispose]()
      expect([code, stderr]).toEqual([0, ''])
    },
  }
}

/** `shoal worker` in a process of its own. */
export const joinByCli: JoinWorker = async (url, { authorization }) => {
  const folder = await temporaryFolder()
  const running = startCli(['worker', '--gateway', url, '--device', 'wasm', '--name', 'suite'], {
    // Its model cache lies in the home folder.
    env: { HOME: folder.path, SHOAL_KEY: authorization?.replace('Bearer ', '') },
  })
  await running.wrote(/^worker suite: serving /m)
  return {
    async stop() {
      const { code, stderr } = await running.stop()
      await folder[Symbol.asyncDispose]()
      expect([code, stderr]).toEqual([0, ''])
    },
  }
}
