import { connect } from 'node:net'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { startNodeGateway } from '../../../functions/gateway/node.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { enrol, joinHeldWorker } from '../../conformance/gateway_held_worker.ts'
import { ask } from '../../conformance/gateway_http.ts'
import { fixedModel } from '../../fixtures/models.ts'
import { temporaryFolder } from '../../fixtures/process.ts'

const start = async (dataDir: string, drainMs: number) =>
  await startNodeGateway({ host: '127.0.0.1', port: 0, dataDir, env: {}, log: silentLog, drainMs })

/** A connection that says `text` and then nothing more. */
async function say(url: string, text: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await once(socket, 'connect')
  socket.write(text.replace('HOST', `Host: ${new URL(url).host}`))
  return socket
}

it('answers what is in flight before it stops', async () => {
  await using folder = await temporaryFolder()
  const gateway = await start(folder.path, 60_000)
  const worker = await joinHeldWorker(gateway.url)
  await ask(gateway.url, 'PUT', '/models/held/versions/1', { body: fixedModel() })
  const json = { inputs: [{ name: 'x', shape: [2, 3], datatype: 'FP32', data: [1, 2, 3, 4, 5, 6] }] }
  const answer = ask(gateway.url, 'POST', '/v2/models/held/infer', { json })
  const run = await worker.nextRun()
  let workersLeft = false
  const closed = gateway.close(async () => void (workersLeft = true))
  await expect(say(gateway.url, '')).rejects.toThrow('ECONNREFUSED')
  // Who was connected before and has just sent a request gets an answer, and is told that it was the last one.
  const late = await fetch(`${gateway.url}/livez`)
  expect([late.status, late.headers.get('connection')]).toEqual([200, 'close'])
  expect(workersLeft).toBe(false)
  run.release()
  expect((await answer).status).toBe(200)
  await closed
  expect(workersLeft).toBe(true)
  expect((await worker.socket.closed).code).toBe(1001)
})

it('stops though callers and workers neither finish nor hang up', async () => {
  await using folder = await temporaryFolder()
  const gateway = await start(folder.path, 50)
  const { connect } = await enrol(gateway.url)
  const upgrade = 'Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13'
  const sockets = [
    await say(gateway.url, ''),
    await say(gateway.url, 'GET /livez HTTP/1.1\r\n'),
    await say(gateway.url, 'PUT /models/a/versions/1 HTTP/1.1\r\nHOST\r\nContent-Length: 100\r\n\r\nabc'),
    await say(gateway.url, `GET ${connect} HTTP/1.1\r\nHOST\r\nConnection: Upgrade\r\n${upgrade}\r\n\r\n`),
  ]
  await once(sockets[3] as typeof sockets[0], 'data')
  const ended = sockets.map((socket) => once(socket, 'close'))
  await gateway.close()
  for (const socket of sockets) socket.resume()
  await Promise.all(ended)
})

it('says which port it could not have, and lets go of its store', async () => {
  await using folder = await temporaryFolder()
  const first = await start(folder.path, 50)
  const port = Number(new URL(first.url).port)
  const second = startNodeGateway({ host: '127.0.0.1', port, dataDir: folder.path, env: {}, log: silentLog })
  await expect(second).rejects.toThrow(`Cannot listen on 127.0.0.1:${port}: the port must be free`)
  expect((await ask(first.url, 'GET', '/registry/services')).status).toBe(200)
  await first.close()
})
