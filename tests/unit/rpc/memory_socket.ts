import type { SocketLike } from '../../../shared/rpc/transports/websocket.ts'

/** One end of a socket in memory, with the manners of a browser's: it delivers later, and its close codes are bounded. */
export class MemorySocket extends EventTarget implements SocketLike {
  declare addEventListener: SocketLike['addEventListener']

  binaryType = 'blob'
  readyState = 0
  other: MemorySocket | undefined
  /** What comes is lost on the way. */
  deaf = false
  sent: (string | Uint8Array)[] = []

  open(): void {
    this.readyState = 1
    this.dispatchEvent(new Event('open'))
  }

  send(data: Uint8Array<ArrayBuffer> | string): void {
    if (this.readyState === 0) throw new DOMException('still connecting', 'InvalidStateError')
    if (this.readyState !== 1) return
    this.sent.push(typeof data === 'string' ? data : data.slice())
    const arriving = typeof data === 'string' ? data : data.slice().buffer
    setTimeout(() => this.other?.deliver(arriving), 0)
  }

  deliver(data: unknown): void {
    if (this.readyState === 1 && !this.deaf) this.dispatchEvent(Object.assign(new Event('message'), { data }))
  }

  close(code = 1000, reason = ''): void {
    if (code !== 1000 && (code < 3000 || code > 4999)) throw new DOMException(`code ${code}`, 'InvalidAccessError')
    if (new TextEncoder().encode(reason).length > 123) throw new DOMException('reason too long', 'SyntaxError')
    for (const end of [this, this.other]) end?.end(code, reason)
  }

  end(code: number, reason: string): void {
    if (this.readyState === 3) return
    this.readyState = 3
    setTimeout(() => this.dispatchEvent(Object.assign(new Event('close'), { code, reason })), 0)
  }
}

export function socketPair(): [MemorySocket, MemorySocket] {
  const [a, b] = [new MemorySocket(), new MemorySocket()]
  a.other = b
  b.other = a
  return [a, b]
}
