import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSocket } from '../../../functions/worker/node_socket.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { connectWebSocket } from '../../../shared/rpc/transports/websocket.ts'

/** Takes connections, reads what comes and answers nothing. */
const server = createServer((socket) => void socket.on('error', () => {}))

beforeEach(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterEach(async () => {
  server.close()
  await once(server, 'close')
})

describe('a server that takes the connection and never answers', () => {
  const ways = { 'Node’s own WebSocket': undefined, 'ws': (url: string) => openSocket(url) }
  for (const [name, open] of Object.entries(ways)) {
    it(`is given up in time, and the connection is closed: ${name}`, async () => {
      const clock = new FakeClock()
      const accepted = once(server, 'connection') as Promise<[Socket]>
      const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
      const connecting = connectWebSocket(url, open, clock).then(() => 'open', (error) => error)
      const [socket] = await accepted
      const [handshake] = await once(socket, 'data')
      expect(String(handshake)).toMatch(/upgrade: websocket/i)
      const ended = once(socket, 'close')
      await clock.advance(DEFAULTS.socketOpenMs)
      expect(await connecting).toMatchObject({
        code: 'unavailable',
        neverSent: true,
        message: `Cannot connect to ${url}: the connection did not open within 5000 ms`,
      })
      await ended
      expect(clock.pending).toBe(0)
    })
  }
})
