import { byId, setText } from './dom.ts'
import { lineOf, setLine } from './line.ts'
import { sumOf } from './metrics_text.ts'
import { inMs } from './words.ts'

/** What a gateway had counted at one moment. */
interface Counted {
  atMs: number
  calls: number
  failed: number
  seconds: number
}

/** Looks that the line of calls shows: some two minutes. */
const LOOKS = 60
/** Means are of the last looks, so that they neither jump nor lag. */
const WINDOW = 5
const CALLS = 'rpc_server_call_duration_seconds'

/** Calls a second, how long they took, and what waits: differences of what the gateway counts from look to look. */
export class Traffic {
  readonly #line = lineOf(byId('calls-line', HTMLElement))
  readonly #looks: Counted[] = []

  /** @param metrics Prometheus's text @param waiting calls in the pools' queues */
  show(metrics: string, waiting: number, nowMs: number): void {
    const now: Counted = {
      atMs: nowMs,
      calls: sumOf(metrics, `${CALLS}_count`),
      failed: sumOf(metrics, `${CALLS}_count`, (labels) => !/(^|,)code="ok"/.test(labels)),
      seconds: sumOf(metrics, `${CALLS}_sum`),
    }
    // Fewer than before: the gateway was started anew, or another one answered.
    if (now.calls < (this.#looks.at(-1)?.calls ?? 0)) this.#looks.length = 0
    this.#looks.push(now)
    if (this.#looks.length > LOOKS + 1) this.#looks.shift()
    const then = this.#looks.at(-1 - WINDOW) ?? this.#looks[0] ?? now
    const calls = now.calls - then.calls
    const rate = calls === 0 ? 0 : 1000 * calls / (now.atMs - then.atMs)
    setText(byId('calls-rate', HTMLElement), rate === 0 ? '0' : rate < 10 ? rate.toFixed(1) : rate.toFixed(0))
    setText(byId('calls-ms', HTMLElement), calls === 0 ? '–' : inMs(1000 * (now.seconds - then.seconds) / calls))
    setText(byId('calls-waiting', HTMLElement), waiting.toLocaleString('en'))
    setText(byId('calls-shed', HTMLElement), sumOf(metrics, 'shoal_pool_calls_shed_total').toLocaleString('en'))
    setText(byId('calls-failed', HTMLElement), now.failed.toLocaleString('en'))
    this.#draw()
  }

  /** A line from the left of a box 1 wide and 1 high, as high as the busiest look. */
  #draw(): void {
    const rates = this.#looks.slice(1).map((look, i) => {
      const before = this.#looks[i] ?? look
      return (look.calls - before.calls) / Math.max(1, look.atMs - before.atMs)
    })
    const top = Math.max(...rates, 1e-9)
    setLine(this.#line, rates.map((rate, i) => [(LOOKS - rates.length + i + 1) / LOOKS, rate / top]))
  }
}
