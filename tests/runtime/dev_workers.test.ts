import { expect, it } from 'vitest'
import { startProcess } from '../fixtures/process.ts'

it('runs the Worker on this machine until Ctrl-C, and leaves nothing behind', async () => {
  const running = startProcess(process.execPath, ['infra/dev_workers.ts', '--port', '0', '--relays', '2'])
  try {
    const [, url = ''] = await running.wrote(/shoal ready (http:\S+)/)
    expect((await fetch(`${url}/livez`)).status).toBe(200)
    // Open on loopback, with a registry behind it.
    expect(await (await fetch(`${url}/registry/services`)).json()).toMatchObject({ services: [] })
    running.signal('SIGINT')
    // It counts as ended when nobody holds its outputs any more: Redis, for one.
    expect((await running.ended).code).toBe(0)
    await expect(fetch(`${url}/livez`)).rejects.toThrow()
  } finally {
    await running.stop()
  }
})

it('says what a port must be', async () => {
  const { code, stderr } = await startProcess(process.execPath, ['infra/dev_workers.ts', '--port', 'x']).ended
  expect([code, stderr]).toEqual([1, expect.stringContaining('--port: a whole number from 0 to 65535 is required')])
})
