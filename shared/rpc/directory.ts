import type { Send } from './send.ts'

/** Someone who can be called: a worker behind a relay, or a relay behind a gateway. */
export interface Callee {
  readonly id: string
  readonly send: Send
}

/** Who can be called now. They come and go; an id is never used again for another. */
export interface Directory {
  list(): readonly Callee[]
  /** Calls `listener` whenever the list may have changed. Returns a function that stops it. */
  onChange(listener: () => void): () => void
}
