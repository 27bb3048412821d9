import type { Clock } from '../base/clock.ts'
import { FRAME_TYPES } from '../wire/frame_layout.ts'

type Message = Uint8Array<ArrayBuffer>

export interface OutboxOptions {
  /** Hands one message to the socket. May throw if that is closed. */
  write(message: Message): void
  /** Bytes that the socket holds and the system has not taken. */
  bufferedBytes(): number
  /** The socket failed while nobody was there to be told. */
  onGone(thrown: unknown): void
  clock: Clock
}

/** What a socket may hold while fragments wait: what comes between them waits for no more than that. */
const MAX_BUFFERED_BYTES = 256 * 1024
/** How often it is looked whether the socket has room: a fragment of a megabyte at each look is 8 Gbit/s. */
const LOOK_MS = 1

/**
 * Lets short frames overtake long ones. A frame of many messages is written as the socket takes it, and whatever is one
 * message goes between. One long frame is under way at a time, and what belongs to its call stays behind it.
 */
export class Outbox {
  readonly #options: OutboxOptions
  /** Long frames, and what must come after them. The first is under way from `#next` on. */
  #waiting: (readonly Message[])[] = []
  #next = 0
  #cancelTimer: (() => void) | undefined

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** @param messages those of one frame, in order */
  send(messages: readonly Message[]): void {
    const first = messages[0]
    if (!first) return
    const isShort = messages.length === 1
    if (this.#waiting.length === 0) {
      if (isShort) return this.#options.write(first)
      this.#waiting.push(messages)
      return this.#pump()
    }
    if (typeOf(first) === FRAME_TYPES.cancel) {
      this.#drop(idOf(first))
      return this.#options.write(first)
    }
    if (isShort && !this.#waiting.some(([one]) => one && precedes(one, first))) return this.#options.write(first)
    this.#waiting.push(messages)
  }

  /** Writes what waits, however much the socket holds then: for one that is about to be closed. */
  flush(): void {
    const [head = [], ...rest] = this.#waiting
    const messages = [...head.slice(this.#next), ...rest.flat()]
    this.clear()
    for (const message of messages) this.#options.write(message)
  }

  /** Lets go of what was not written. */
  clear(): void {
    this.#waiting = []
    this.#next = 0
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
  }

  /** Nobody waits for the answer to a call any more: what is left of its request need not be written. */
  #drop(id: number): void {
    const isUnwanted = ([one]: readonly Message[]) =>
      one !== undefined && typeOf(one) === FRAME_TYPES.request && idOf(one) === id
    const [head] = this.#waiting
    if (head && isUnwanted(head)) this.#next = 0
    this.#waiting = this.#waiting.filter((one) => !isUnwanted(one))
  }

  #pump(): void {
    const { write, bufferedBytes, clock } = this.#options
    for (;;) {
      const [messages] = this.#waiting
      if (!messages) return
      if (this.#next > 0 && bufferedBytes() > MAX_BUFFERED_BYTES) break
      const message = messages[this.#next++]
      if (message) write(message)
      if (this.#next < messages.length) continue
      this.#waiting.shift()
      this.#next = 0
    }
    this.#cancelTimer = clock.after(LOOK_MS, () => {
      try {
        this.#pump()
      } catch (thrown) {
        this.clear()
        this.#options.onGone(thrown)
      }
    })
  }
}

/** Whether `later` is about the same call as `earlier`, from the same side of it. */
function precedes(earlier: Message, later: Message): boolean {
  return idOf(earlier) === idOf(later) && isAnswer(earlier) === isAnswer(later)
}

function isAnswer(message: Message): boolean {
  const type = typeOf(message)
  return type === FRAME_TYPES.response || type === FRAME_TYPES.chunk || type === FRAME_TYPES.end
}

function typeOf(message: Message): number {
  return message[2] ?? 0
}

function idOf(message: Message): number {
  return new DataView(message.buffer, message.byteOffset).getUint32(4, true)
}
