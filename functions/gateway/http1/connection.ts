import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls'
import type { Bytes } from '../../../shared/base/bytes.ts'
import type { Clock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { type Answer, AnswerReader } from './answer_reader.ts'

/** A request, and who waits for its answer: one of the two is called, once, unless it is dropped before. Neither may throw. */
export interface Exchange {
  /** That it was given to; not for its maker to touch. */
  connection: Connection | undefined
  /** The request line and fields with the empty line after them, in latin1. */
  readonly head: string
  readonly body: Bytes
  onAnswer(answer: Answer): void
  /** @param wasSent bytes of the request may have reached the other side */
  onFailed(error: Error, wasSent: boolean): void
}

/** Where connections go. */
export interface Endpoint {
  /** For TLS: what its connections share, so that each handshake after the first is a short one. */
  readonly tls: { context?: SecureContext; session?: Buffer } | undefined
  /** A name or an address, that of IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly lookup: LookupFunction
}

/** Who keeps connections. */
export interface ConnectionOwner {
  /** The connection has answered and may be asked again, for so long as the other side says. */
  onIdle(connection: Connection, keptMs: number | undefined): void
  /** It must not be asked any more. */
  onEnded(connection: Connection): void
}

/** Bodies up to this length go out in one piece with their heads: to copy them costs less than a second piece. */
const MAX_COPIED_BYTES = 16 * 1024
/** What the system reads comes here, for all connections: each takes what it keeps before the next is read. */
const READ_INTO = Buffer.allocUnsafeSlow(64 * 1024)

/** A connection of HTTP/1.1 for one request at a time: Node's socket, and what is written to it and read of it. */
export class Connection {
  /** When it should no longer be asked, in its owner's time and for its owner to keep. */
  idleUntilMs = 0
  readonly #socket: Socket
  readonly #owner: ConnectionOwner
  readonly #reader = new AnswerReader(LIMITS.maxJsonBytes)
  readonly #endWait: () => void
  #exchange: Exchange | undefined
  #isOpen = false
  #isEnded = false
  #cause: Error | undefined

  /** Begins to connect, for its first request. */
  constructor(endpoint: Endpoint, clock: Clock, owner: ConnectionOwner, first: Exchange) {
    this.#owner = owner
    this.#exchange = first
    first.connection = this
    this.#socket = connect(endpoint, (bytes) => this.#read(bytes))
    this.#socket.once(endpoint.tls ? 'secureConnect' : 'connect', () => this.#opened())
    this.#socket.on('error', (error) => this.fail(error))
    this.#socket.on('end', () => this.#heardEnd())
    this.#socket.on('close', () => this.#closed())
    const limitMs = DEFAULTS.connectTimeoutMs
    this.#endWait = clock.after(limitMs, () => this.fail(new Error(`no connection within ${limitMs} ms`)))
  }

  /** It must be idle. */
  ask(exchange: Exchange): void {
    this.#exchange = exchange
    exchange.connection = this
    this.#write(exchange)
  }

  /** Nobody waits for the answer any more: the other side learns of it by the connection's end. */
  cut(): void {
    this.#exchange = undefined
    this.#end()
  }

  /** Ends it. Whoever waits hears why. */
  fail(cause: Error): void {
    this.#cause ??= cause
    this.#end()
  }

  get isEnded(): boolean {
    return this.#isEnded
  }

  /** At once for its owner; its socket closes a little later. */
  #end(): void {
    this.#socket.destroy()
    if (this.#isEnded) return
    this.#isEnded = true
    this.#endWait()
    this.#owner.onEnded(this)
  }

  #opened(): void {
    this.#isOpen = true
    this.#endWait()
    if (this.#exchange) this.#write(this.#exchange)
  }

  #write({ head, body }: Exchange): void {
    const socket = this.#socket
    if (body.byteLength <= MAX_COPIED_BYTES) {
      const message = Buffer.allocUnsafe(head.length + body.byteLength)
      message.write(head, 'latin1')
      message.set(body, head.length)
      socket.write(message)
    } else {
      socket.cork()
      socket.write(head, 'latin1')
      socket.write(body)
      socket.uncork()
    }
  }

  #read(bytes: Buffer): void {
    const exchange = this.#exchange
    if (!exchange) return this.fail(new Error('the other side spoke unasked'))
    let answer: Answer | undefined
    try {
      answer = this.#reader.read(bytes)
    } catch (thrown) {
      return this.fail(thrown as Error)
    }
    if (answer) this.#answered(exchange, answer)
  }

  #answered(exchange: Exchange, answer: Answer): void {
    this.#exchange = undefined
    // Who answers before it has all of a request would take the rest of it for the next.
    if (answer.keptMs === 0 || this.#socket.writableLength > 0) this.#end()
    else this.#owner.onIdle(this, answer.keptMs)
    exchange.onAnswer(answer)
  }

  #heardEnd(): void {
    const answer = this.#exchange && this.#reader.end()
    if (this.#exchange && answer) this.#answered(this.#exchange, answer)
    else this.fail(new Error('the other side closed the connection'))
  }

  #closed(): void {
    this.#end()
    const exchange = this.#exchange
    this.#exchange = undefined
    exchange?.onFailed(this.#cause ?? new Error('the connection was cut'), this.#isOpen)
  }
}

function connect({ tls, host, port, lookup }: Endpoint, onRead: (bytes: Buffer) => void): Socket {
  const { tcpProbeMs: keepAliveInitialDelay } = DEFAULTS
  const options = { host, port, lookup, noDelay: true, keepAlive: true, keepAliveInitialDelay }
  if (tls) {
    const secureContext = tls.context ??= createSecureContext()
    const { session } = tls
    const servername = isIP(host) ? '' : host
    return connectTls({ ...options, servername, secureContext, session, ALPNProtocols: ['http/1.1'] })
      .on('session', (session) => tls.session = session)
      .on('data', onRead)
  }
  const callback = (length: number) => {
    onRead(READ_INTO.subarray(0, length))
    return true
  }
  return connectTcp({ ...options, onread: { buffer: READ_INTO, callback } })
}
