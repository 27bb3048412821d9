import type { RpcError } from '../wire/errors.ts'
import type { Payload } from '../wire/payload.ts'

/** Items of a stream between the socket that brings them and the one reader that takes them. */
export class PayloadQueue implements AsyncIterable<Payload> {
  readonly #items: Payload[] = []
  #wake: (() => void) | undefined
  #ended = false
  #error: RpcError | undefined

  push(item: Payload): void {
    this.#items.push(item)
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  fail(error: RpcError): void {
    this.#error = error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Payload> {
    for (;;) {
      const item = this.#items.shift()
      if (item) {
        yield item
        continue
      }
      if (this.#error) throw this.#error
      if (this.#ended) return
      await new Promise<void>((resolve) => this.#wake = resolve)
      this.#wake = undefined
    }
  }
}
