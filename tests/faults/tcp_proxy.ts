import { connect, createServer, type Server, type Socket } from 'node:net'

export interface TcpFaults {
  /** Holds bytes back for so long, each way. */
  delayMs: number
  /** Passes so many bytes of answers on each new connection, then resets it. */
  truncateAt: number
  /** New connections are reset at once. */
  refuse: boolean
}

const SOUND: TcpFaults = { delayMs: 0, truncateAt: Infinity, refuse: false }

/** A TCP proxy on loopback that does what networks do. */
export class TcpProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #links = new Set<Link>()
  #faults: TcpFaults = SOUND
  /** Connections made so far. */
  connections = 0
  /** What clients wrote to connections that pass nothing any more, as it came. */
  readonly swallowed: Uint8Array[] = []

  private constructor(targetPort: number) {
    // Half-open on purpose: the end of one direction is passed on, not turned into the end of both.
    this.#server = createServer({ allowHalfOpen: true }, (near) => {
      this.connections++
      if (this.#faults.refuse) return void near.resetAndDestroy()
      const far = connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true })
      const link = new Link(near, far, () => this.#faults, (bytes) => this.swallowed.push(bytes))
      this.#links.add(link)
      near.once('close', () => this.#links.delete(link))
    })
  }

  static async to(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    const address = this.#server.address()
    return address && typeof address === 'object' ? address.port : 0
  }

  /** Replaces the faults; those not named are mended. Truncation counts on new connections, the rest on all. */
  set(faults: Partial<TcpFaults>): void {
    this.#faults = { ...SOUND, ...faults }
  }

  /** Resets all connections there are. */
  drop(): void {
    for (const link of this.#links) link.reset()
  }

  /** All connections there are stay open and pass nothing any more, as behind a lost NAT entry. New ones are sound. */
  halfOpen(): void {
    for (const link of this.#links) link.silence()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.drop()
    await closed
  }
}

/** One connection through the proxy. */
class Link {
  readonly #sockets: readonly [near: Socket, far: Socket]
  #isSilent = false

  constructor(near: Socket, far: Socket, faults: () => TcpFaults, onSwallow: (bytes: Uint8Array) => void) {
    this.#sockets = [near, far]
    let left = faults().truncateAt
    this.#pipe(near, far, faults, (bytes) => bytes)
    near.on('data', (bytes) => this.#isSilent && onSwallow(bytes))
    this.#pipe(far, near, faults, (bytes) => {
      const passed = bytes.subarray(0, Math.max(0, left))
      left -= bytes.byteLength
      return passed
    })
  }

  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  silence(): void {
    this.#isSilent = true
  }

  #pipe(from: Socket, to: Socket, faults: () => TcpFaults, cut: (bytes: Uint8Array) => Uint8Array): void {
    /** Nothing overtakes what came before it, even if the delay shrinks in between. */
    let last = Promise.resolve()
    const pass = (act: () => void) => {
      const { delayMs } = faults()
      const ripe = delayMs > 0 ? new Promise<void>((resolve) => setTimeout(resolve, delayMs)) : undefined
      last = last.then(() => ripe).then(() => {
        if (!this.#isSilent && !to.destroyed) act()
      })
    }
    from.on('data', (bytes) =>
      pass(() => {
        const passed = cut(bytes)
        if (passed.byteLength === bytes.byteLength) return void to.write(passed)
        to.write(passed, () => this.reset())
      }))
    from.on('end', () => pass(() => to.end()))
    from.on('error', () => to.destroy())
    from.on('close', () => this.#isSilent || pass(() => to.destroy()))
  }
}
