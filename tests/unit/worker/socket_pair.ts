import type { Hub } from '../../../shared/relay/hub.ts'
import type { EnrolledWorker, Session } from '../../../shared/relay/session.ts'
import type { SocketLike } from '../../../shared/rpc/transports/websocket.ts'

type Listener = (event: never) => void

/**
 * A WebSocket without a network: messages arrive in later microtasks, events come as in a browser. What it is connected
 * to is set by `onSend` and `onClose`.
 */
export class PairSocket implements SocketLike {
  binaryType = 'blob'
  readyState = 0
  /** A line that was cut without a word: nothing arrives, and a close never ends. */
  cut = false
  closedWith: { code: number; reason: string } | undefined
  onSend: (data: Uint8Array<ArrayBuffer> | string) => void = () => {}
  onClose: (code: number, reason: string) => void = () => {}
  readonly #listeners: Record<string, Listener[]> = {}

  addEventListener(type: string, listener: Listener): void {
    ;(this.#listeners[type] ??= []).push(listener)
  }

  send(data: Uint8Array<ArrayBuffer> | string): void {
    if (this.readyState === 0) throw new DOMException('Still connecting', 'InvalidStateError')
    if (this.readyState === 1 && !this.cut) queueMicrotask(() => this.onSend(data))
  }

  close(code = 1000, reason = ''): void {
    if (code !== 1000 && (code < 3000 || code > 4999)) throw new DOMException(`code ${code}`, 'InvalidAccessError')
    if (new TextEncoder().encode(reason).byteLength > 123) throw new DOMException('reason too long', 'SyntaxError')
    if (this.readyState >= 2) return
    this.readyState = 2
    this.closedWith ??= { code, reason }
    if (this.cut) return
    queueMicrotask(() => this.onClose(code, reason))
    queueMicrotask(() => this.#end(code, reason))
  }

  /** The other end accepts. */
  open(): void {
    if (this.readyState !== 0) return
    this.readyState = 1
    this.#emit('open', {})
  }

  deliver(data: Uint8Array<ArrayBuffer> | string): void {
    if (this.cut) return
    queueMicrotask(() => {
      if (this.readyState !== 1) return
      this.#emit('message', { data: typeof data === 'string' ? data : data.slice().buffer })
    })
  }

  /** The other end closes, or refuses. */
  end(code: number, reason: string): void {
    if (!this.cut) queueMicrotask(() => this.#end(code, reason))
  }

  #end(code: number, reason: string): void {
    if (this.readyState === 3) return
    this.readyState = 3
    this.#emit('close', { code, reason })
  }

  #emit(type: string, event: unknown): void {
    for (const listener of this.#listeners[type] ?? []) listener(event as never)
  }
}

/** Connects a socket to a relay, as a runtime's adapter does. */
export function connect(socket: PairSocket, hub: Hub): Session | undefined {
  const saved: EnrolledWorker[] = []
  const session = hub.open({
    write: (message) => socket.deliver(message),
    close: (code, reason) => socket.end(code, reason),
    save: (worker) => void saved.push(worker),
  })
  socket.onSend = (data) => session?.receive(data)
  socket.onClose = (code) => session?.end(`socket closed with ${code}`)
  socket.open()
  return session
}
