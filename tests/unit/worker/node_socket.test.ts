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

    const sendHeld = () => {
      socket.send(new Uint8Array([0]))
      return socket.bufferedAmount ?? NaN
    }
    const turns = []
    for (let turn = 0; turn < 3; turn++) {
      turns.push(turn < 2 ? [sendHeld()] : [sendHeld(), sendHeld(), sendHeld()])
      await new Promise((resolve) => setImmediate(resolve))
    }
    // A frame that is alone in its turn is held until the turn's end; after one that was, the first is not.
    expect(turns).toEqual([[perFrame], [0], [0, perFrame, 2 * perFrame]])
    socket.close(1000)
  } finally {
    for (const client of server.clients) client.terminate()
    server.close()
  }
})
