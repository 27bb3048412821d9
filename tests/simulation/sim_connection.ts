import { Peer } from '../../shared/rpc/peer.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { FRAME_TYPES } from '../../shared/wire/frame.ts'
import type { Stream } from './network.ts'
import type { SimInstance } from './sim_instance.ts'
import type { SimProcess } from './sim_process.ts'
import type { World } from './world.ts'

/** A socket from a gateway to an instance, with a real peer at each end. */
export class SimConnection {
  readonly send: Send
  readonly #near: Peer
  readonly #far: Peer
  readonly #streams: Stream[]
  readonly #onEnd: () => void
  readonly #instance: SimInstance
  readonly #resets: Stream

  constructor(world: World, gateway: SimProcess, instance: SimInstance, onEnd: () => void) {
    const { network, observer } = world
    const { process } = instance
    const number = world.nextConnection()
    const up = network.stream(gateway.name, process.name, (message) => process.run(() => this.#far.receive(message)))
    const down = network.stream(process.name, gateway.name, (message) => {
      if (message[2] === FRAME_TYPES.response) {
        observer.onResponse(number, new DataView(message.buffer, message.byteOffset).getUint32(4, true))
      }
      gateway.run(() => this.#near.receive(message))
    })
    // Behind what was answered before, and held up by a partition as that is.
    this.#resets = network.stream(process.name, gateway.name, () => gateway.run(() => this.#close()))
    this.#near = new Peer({ write: (message) => up.write(message), clock: gateway })
    this.#far = new Peer({
      write: world.parts.answer((message) => down.write(message)),
      serve: instance.serve,
      clock: process,
    })
    this.#streams = [up, down, this.#resets]
    this.#onEnd = onEnd
    this.#instance = instance
    instance.connections.add(this)
    this.send = this.#near.send
  }

  /** The instance's machine says that nobody is there any more. */
  reset(): void {
    this.#far.close(new RpcError('unavailable', 'killed'))
    this.#resets.write(new Uint8Array())
  }

  #close(): void {
    this.#near.close(new RpcError('unavailable', 'Cannot finish the call: the connection was reset'))
    for (const stream of this.#streams) stream.end()
    this.#instance.connections.delete(this)
    this.#onEnd()
  }
}
