import type { Session, WorkerLink } from '../../shared/relay/session.ts'
import { IN_PROCESS_SIZES } from '../../shared/rpc/frame_headers.ts'
import type { SocketLike } from '../../shared/rpc/transports/websocket.ts'
import { RpcError } from '../../shared/wire/errors.ts'

const [CONNECTING, OPEN, CLOSED] = [0, 1, 3]

interface Events {
  open: undefined
  error: undefined
  message: { data: unknown }
  close: { code: number; reason: string }
}
type Listeners = { [K in keyof Events]: ((event: Events[K]) => void)[] }

/**
 * A worker's end of its link to a relay of the same process: messages are handed over as they are, one after another
 * and never from within `send`, as a socket would bring them.
 */
export class LocalSocket implements SocketLike {
  binaryType = 'arraybuffer'
  readonly maxFrameBytes = IN_PROCESS_SIZES.maxFrameBytes
  readonly #listeners: Listeners = { open: [], error: [], message: [], close: [] }
  #state = CONNECTING
  #session: Session | undefined

  /** @param accept the relay's `accept` */
  constructor(accept: (link: WorkerLink) => Session | undefined) {
    queueMicrotask(() => {
      if (this.#state !== CONNECTING) return
      this.#session = accept({
        maxFrameBytes: this.maxFrameBytes,
        write: (data) => queueMicrotask(() => this.#state === OPEN && this.#emit('message', { data })),
        close: (code, reason) => queueMicrotask(() => this.#end(code, reason)),
        save() {},
      })
      if (!this.#session) return
      this.#state = OPEN
      this.#emit('open', undefined)
    })
  }

  get readyState(): number {
    return this.#state
  }

  send(data: Uint8Array<ArrayBuffer> | string): void {
    if (this.#state !== OPEN) throw new RpcError('unavailable', 'Cannot send: the socket is closed')
    queueMicrotask(() => this.#session?.receive(data))
  }

  close(code = 1000, reason = ''): void {
    queueMicrotask(() => this.#end(code, reason))
  }

  addEventListener<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): void {
    this.#listeners[type].push(listener)
  }

  #end(code: number, reason: string): void {
    if (this.#state === CLOSED) return
    this.#state = CLOSED
    this.#session?.end(`socket closed with ${code}`)
    this.#emit('close', { code, reason })
  }

  #emit<K extends keyof Events>(type: K, event: Events[K]): void {
    for (const listener of this.#listeners[type]) listener(event)
  }
}
