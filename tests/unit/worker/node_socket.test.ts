import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { WebSocketServer } from 'ws'
import { openSocket } from '../../../functions/worker/node_socket.ts'

it('holds the frames of one turn together, and no more of them than the other side may wait for', async () => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  try {
    await once(server, 'listening')
    const accepted = once(server, 'connection')
    const socket = openSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const [far] = await accepted
    if (socket.readyState !== 1) await new Promise<void>((resolve) => socket.addEventListener('open', resolve))

    const received: number[] = []
    const whole = new Promise<void>((resolve) => {
      far.on('message', (data: Buffer) => received.push(data[0] ?? -1) === 30 && resolve())
    })
    const held: number[] = []
    for (let i = 0; i < 30; i++) {
      socket.send(new Uint8Array([i]))
      held.push(socket.bufferedAmount ?? NaN)
    }
    await whole
    expect(received).toEqual(Array.from({ length: 30 }, (_, i) => i))
    const perFrame = held[0] ?? 0
    expect(perFrame).toBeGreaterThan(0)
    expect(held).toEqual(Array.from({ length: 30 }, (_, i) => (i + 1) % 8 * perFrame))
    expect(socket.bufferedAmount).toBe(0)
    socket.close(1000)
  } finally {
    for (const client of server.clients) client.terminate()
    server.close()
  }
})
