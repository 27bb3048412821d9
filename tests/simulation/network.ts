import type { Clock } from '../../shared/base/clock.ts'
import type { Random } from '../../shared/base/random.ts'

/** What one line does to what it carries. */
export interface Line {
  dropRate: number
  duplicateRate: number
  maxDelayMs: number
  /** Nothing passes: a partition. */
  isCut: boolean
}

const SOUND: Line = { dropRate: 0, duplicateRate: 0, maxDelayMs: 10, isCut: false }

/** What a lost segment costs a stream: it is sent again. */
const RESEND_MS = 200

/** Lines between processes, by their names. What travels as datagrams may be lost, doubled and reordered. */
export class Network {
  readonly #time: Clock
  readonly #random: Random
  readonly #lines = new Map<string, Line>()
  readonly #streams = new Set<Stream>()

  constructor(time: Clock, random: Random) {
    this.#time = time
    this.#random = random
  }

  line(a: string, b: string): Line {
    const key = a < b ? `${a} ${b}` : `${b} ${a}`
    let line = this.#lines.get(key)
    if (!line) this.#lines.set(key, line = { ...SOUND })
    return line
  }

  /** All lines are sound again; streams go on where they had stopped. */
  heal(lines: Iterable<Line> = this.#lines.values()): void {
    for (const line of lines) Object.assign(line, SOUND)
    for (const stream of this.#streams) stream.pump()
  }

  datagram(from: string, to: string, deliver: () => void): void {
    const line = this.line(from, to)
    do {
      if (line.isCut || this.#random() < line.dropRate) continue
      this.#time.after(this.#random() * line.maxDelayMs, () => line.isCut || deliver())
    } while (this.#random() < line.duplicateRate)
  }

  /** One direction of a connection: in order and whole, as TCP is; loss costs time, and a cut line holds it up. */
  stream(from: string, to: string, deliver: (message: Uint8Array) => void): Stream {
    const line = this.line(from, to)
    const delayMs = () => {
      let ms = this.#random() * line.maxDelayMs
      while (this.#random() < line.dropRate) ms += RESEND_MS
      return ms
    }
    const stream = new Stream({ time: this.#time, line, delayMs, deliver, onEnd: () => this.#streams.delete(stream) })
    this.#streams.add(stream)
    return stream
  }
}

interface StreamDeps {
  time: Clock
  line: Line
  delayMs(): number
  deliver(message: Uint8Array): void
  onEnd(): void
}

export class Stream {
  readonly #deps: StreamDeps
  readonly #waiting: { message: Uint8Array; atMs: number }[] = []
  #isOpen = true

  constructor(deps: StreamDeps) {
    this.#deps = deps
  }

  write(message: Uint8Array): void {
    const { time, delayMs } = this.#deps
    const ms = delayMs()
    this.#waiting.push({ message, atMs: time.now() + ms })
    time.after(ms, () => this.pump())
  }

  /** Delivers what is due, unless something before it is not. */
  pump(): void {
    const { time, line, deliver } = this.#deps
    while (this.#isOpen && !line.isCut) {
      const [head] = this.#waiting
      if (!head || head.atMs > time.now()) return
      this.#waiting.shift()
      deliver(head.message)
    }
  }

  end(): void {
    this.#isOpen = false
    this.#deps.onEnd()
  }
}
