import { LIMITS } from '../base/limits.ts'
import type { RpcError } from '../wire/errors.ts'
import type { Payload } from '../wire/payload.ts'

export interface PayloadQueueOptions {
  /** The reader has taken so many bytes more: their sender may send as many again. */
  onTaken(bytes: number): void
  /** The reader stopped before the end. */
  onStop(): void
}

/**
 * Items of a stream between the socket that brings them and the one reader that takes them. It holds at most
 * `LIMITS.streamWindowBytes` and one item more: so much its sender may send before it hears that items were taken.
 */
export class PayloadQueue implements AsyncIterable<Payload> {
  readonly #options: PayloadQueueOptions
  readonly #items: { payload: Payload; bytes: number }[] = []
  /** Received and not yet given back to the sender. */
  #owedBytes = 0
  /** Taken since the last time bytes were given back. */
  #takenBytes = 0
  #wake: (() => void) | undefined
  #ended = false
  #error: RpcError | undefined

  constructor(options: PayloadQueueOptions) {
    this.#options = options
  }

  /** @returns false if its sender was not free to send it */
  push(payload: Payload, bytes: number): boolean {
    if (this.#owedBytes >= LIMITS.streamWindowBytes) return false
    this.#owedBytes += bytes
    this.#items.push({ payload, bytes })
    this.#wake?.()
    return true
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  /** What came before the failure is still read. */
  fail(error: RpcError): void {
    this.#error ??= error
    this.end()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Payload> {
    try {
      for (;;) {
        const item = this.#items.shift()
        if (item) {
          this.#take(item.bytes)
          yield item.payload
        } else if (this.#error) throw this.#error
        else if (this.#ended) return
        else {
          await new Promise<void>((resolve) => this.#wake = resolve)
          this.#wake = undefined
        }
      }
    } finally {
      if (!this.#ended) this.#options.onStop()
    }
  }

  /** Half of the window is given back at once, so that a fast stream costs few frames and never waits for one. */
  #take(bytes: number): void {
    this.#takenBytes += bytes
    if (this.#ended || this.#takenBytes < LIMITS.streamWindowBytes / 2) return
    this.#owedBytes -= this.#takenBytes
    this.#options.onTaken(this.#takenBytes)
    this.#takenBytes = 0
  }
}
