import { assert } from 'chai'
import { messagePortTransport, portPeer } from '../../../shared/rpc/transports/message_port.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertIdle, echo, rejected, requestOf, settled, valueOf } from './harness.ts'

export const portSuite: Suite = {
  name: 'message ports',
  cases: {
    'calls go over a port and back': async () => {
      const { port1, port2 } = new MessageChannel()
      const server = portPeer(port2, echo)
      const transport = messagePortTransport(port1)
      try {
        const calls = Array.from({ length: 100 }, (_, n) => valueOf(transport.send(requestOf({ n }))))
        assert.deepEqual(await Promise.all(calls), calls.map((_, n) => ({ n })))
        assertIdle(server, 'server')
      } finally {
        transport.close()
        port2.close()
      }
    },

    'tensors keep their data, and the sender keeps its own': async () => {
      const { port1, port2 } = new MessageChannel()
      portPeer(port2, echo)
      const transport = messagePortTransport(port1)
      try {
        for (const size of [8, 1000, 3_000_000]) {
          const x = new Tensor('uint8', [size], new Uint8Array(size).fill(7))
          const { x: back } = await valueOf(transport.send(requestOf({ x }))) as { x: Tensor }
          assert.equal(back.bytes.byteLength, size)
          assert.equal(back.bytes.byteOffset % 8, 0)
          assert.isTrue(back.bytes.every((byte) => byte === 7))
          assert.equal(x.bytes.byteLength, size, 'what was sent was moved away')
        }
      } finally {
        transport.close()
        port2.close()
      }
    },

    'closing ends what is in flight': async () => {
      const { port1, port2 } = new MessageChannel()
      portPeer(port2, () => new Promise(() => {}))
      const transport = messagePortTransport(port1)
      const call = rejected(transport.send(requestOf(1)), 'unavailable', /the port was closed/)
      transport.close()
      await call
      const after = await rejected(transport.send(requestOf(1)), 'unavailable')
      assert.isTrue(after.neverSent)
      port2.close()
    },

    'a port that brings what is no frame is closed, and what is none of ours is passed over': async () => {
      const { port1, port2 } = new MessageChannel()
      const transport = messagePortTransport(port1)
      const call = rejected(transport.send(requestOf(1)), 'unavailable', /a message that is no frame/)
      for (const other of ['text', 1, null, { type: 'other' }]) port2.postMessage(other)
      port2.postMessage(Uint8Array.of(1, 2, 3))
      await call
      await settled()
      port2.close()
    },
  },
}
