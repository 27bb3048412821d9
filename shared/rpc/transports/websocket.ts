import { type Clock, systemClock } from '../../base/clock.ts'
import { DEFAULTS } from '../../base/defaults.ts'
import { kindOf } from '../../base/show.ts'
import { invalid, RpcError } from '../../wire/errors.ts'
import { PING, PONG } from '../../wire/frame.ts'
import { closeCodeOf, closeReason, SCRIPT_OFFSET } from '../close_code.ts'
import { Outbox } from '../outbox.ts'
import { Peer, type PeerOptions } from '../peer.ts'
import type { Transport } from '../send.ts'

export const SUBPROTOCOL = 'shoal.v1'

/** The part of the WebSocket API that browsers, Deno, workerd and Node share. */
export interface SocketLike {
  binaryType: string
  readonly readyState: number
  /** Bytes that were sent and that the system has not taken. Where it is not known, long messages are not held back. */
  readonly bufferedAmount?: number
  /** Bytes that one message may have, where it is not LIMITS.maxFrameBytes. */
  readonly maxFrameBytes?: number
  send(data: Uint8Array<ArrayBuffer> | string): void
  close(code?: number, reason?: string): void
  addEventListener(type: 'open' | 'error', listener: () => void): void
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void
  addEventListener(type: 'close', listener: (event: { code: number; reason: string }) => void): void
}

const OPEN = 1

export interface SocketPeer {
  peer: Peer
  /** Sends a ping; `onPong` hears of the answer. */
  ping(): void
  close(code: number, reason: string): void
  /** Bytes that the system has not taken yet, as far as is known: of those a cut would lose. */
  readonly unsentBytes: number
  /** Resolves when the socket has closed, for whatever reason. */
  closed: Promise<{ code: number; reason: string }>
}

/** Runs a peer on an open (or opening) socket. A message that breaks the protocol closes it, with what was in flight. */
export function socketPeer(
  socket: SocketLike,
  options: Omit<PeerOptions, 'write' | 'writeFrame'> & { onPong?: () => void } = {},
): SocketPeer {
  socket.binaryType = 'arraybuffer'
  const write = (message: Uint8Array<ArrayBuffer>) => {
    if (socket.readyState !== OPEN) throw new RpcError('unavailable', 'Cannot send: the socket is closed')
    socket.send(message)
  }
  const outbox = socket.bufferedAmount === undefined ? undefined : new Outbox({
    write,
    bufferedBytes: () => socket.bufferedAmount ?? 0,
    onGone: (thrown) => peer.close(RpcError.from(thrown)),
    clock: options.clock ?? systemClock,
  })
  const peer: Peer = new Peer({
    maxFrameBytes: socket.maxFrameBytes,
    ...options,
    write,
    writeFrame: outbox && ((messages) => outbox.send(messages)),
  })
  socket.addEventListener('message', ({ data }) => {
    if (data === PING) return socket.send(PONG)
    if (data === PONG) return options.onPong?.()
    try {
      peer.receive(toBytes(data))
    } catch (thrown) {
      const { message } = RpcError.from(thrown)
      outbox?.clear()
      peer.close(new RpcError('unavailable', `Cannot finish the call: the connection was given up (${message})`))
      socket.close(SCRIPT_OFFSET + closeCodeOf(thrown, data), closeReason(message))
    }
  })
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.addEventListener('close', ({ code, reason }) => {
      outbox?.clear()
      peer.close(
        new RpcError(
          'unavailable',
          `Cannot finish the call: the connection was lost (${code}${reason ? ` ${reason}` : ''})`,
        ),
      )
      resolve({ code, reason })
    })
  })
  return {
    peer,
    closed,
    get unsentBytes() {
      return socket.bufferedAmount ?? 0
    },
    ping() {
      if (socket.readyState === OPEN) socket.send(PING)
    },
    close(code, reason) {
      // What was answered is sent before: whoever closes has nothing more to wait for.
      if (socket.readyState === OPEN) outbox?.flush()
      else outbox?.clear()
      socket.close(code, closeReason(reason))
    },
  }
}

/** Node's `ws` hands over a Buffer, browsers an ArrayBuffer: both without a copy. */
function toBytes(data: unknown): Uint8Array {
  if (data instanceof ArrayBuffer) return new Uint8Array(data)
  if (data instanceof Uint8Array) return data
  const got = typeof data === 'string' ? `a text of ${data.length} characters` : kindOf(data)
  throw invalid(`Cannot read the message: expected a binary frame, got ${got}`)
}

/**
 * Opens a socket to a Shoal server and calls over it.
 * @throws RpcError `unavailable` if it cannot be opened, or not within `DEFAULTS.socketOpenMs`: a server may take the
 *   connection and never answer
 */
export async function connectWebSocket(
  url: string,
  open = (address: string): SocketLike => new WebSocket(address, SUBPROTOCOL),
  clock: Clock = systemClock,
): Promise<Transport> {
  const socket = open(url)
  const { peer, close } = socketPeer(socket, { clock })
  const opening = Promise.withResolvers<void>()
  const fail = (why: string) =>
    opening.reject(new RpcError('unavailable', `Cannot connect to ${url}: ${why}`, { neverSent: true }))
  const cancelTimer = clock.after(DEFAULTS.socketOpenMs, () => {
    fail(`the connection did not open within ${DEFAULTS.socketOpenMs} ms`)
    close(1000, '')
  })
  socket.addEventListener('open', () => opening.resolve())
  socket.addEventListener('error', () => fail('the connection failed'))
  socket.addEventListener('close', () => fail('the connection failed'))
  await opening.promise.finally(cancelTimer)
  return {
    send: peer.send,
    codec: 'tensors',
    close: () => {
      peer.close(new RpcError('unavailable', 'Cannot finish the call: the connection was closed'))
      close(1000, '')
    },
  }
}
