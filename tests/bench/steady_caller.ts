import { Agent, request } from 'node:http'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import { RPC_REQUEST } from './gateway_backend.ts'

export interface SteadyCallerOptions {
  callers: number
  /** Between an answer and the next call. */
  pauseMs: number
  path?: string
  type?: string
  body?: Uint8Array
}

const LOOK_MS = 5

/** Callers that go on calling through a gateway, idempotent calls all, and note who answered and when. */
export class SteadyCaller implements Disposable {
  answers = 0
  failures = 0
  /** What failed calls were answered with, and how many with each. */
  readonly reasons = new Map<string, number>()
  readonly #port: number
  readonly #agent = new Agent({ keepAlive: true })
  readonly #firstAtMs = new Map<string, number>()
  readonly #lastAtMs = new Map<string, number>()
  #stopped = false

  constructor(port: number, options: SteadyCallerOptions) {
    this.#port = port
    for (let i = 0; i < options.callers; i++) void this.#run(options)
  }

  /** When `name` answered first since the last time it was waited for. */
  async until(name: string, patienceMs: number): Promise<number> {
    this.#firstAtMs.delete(name)
    return await poll(`${name} answers`, patienceMs, () => this.#firstAtMs.get(name))
  }

  /** When `name` answered last, once it has not for `quietMs`. */
  async untilSilent(name: string, quietMs: number, patienceMs: number): Promise<number> {
    const startedAtMs = performance.now()
    return await poll(`${name} is silent`, patienceMs, () => {
      const lastAtMs = this.#lastAtMs.get(name) ?? startedAtMs
      return performance.now() - Math.max(lastAtMs, startedAtMs) > quietMs ? lastAtMs : undefined
    })
  }

  /** Counts anew. */
  forget(): void {
    this.answers = 0
    this.failures = 0
    this.reasons.clear()
  }

  [Symbol.dispose](): void {
    this.#stopped = true
    this.#agent.destroy()
  }

  async #run(options: SteadyCallerOptions): Promise<void> {
    while (!this.#stopped) {
      const answer = await this.#call(options)
      if (this.#stopped) return
      if (answer.status === 200) {
        this.answers++
        if (!this.#firstAtMs.has(answer.name)) this.#firstAtMs.set(answer.name, performance.now())
        this.#lastAtMs.set(answer.name, performance.now())
      } else {
        this.failures++
        this.reasons.set(answer.reason, (this.reasons.get(answer.reason) ?? 0) + 1)
      }
      if (options.pauseMs > 0) await sleep(systemClock, options.pauseMs)
    }
  }

  /** @returns status 0 if there was no answer */
  #call(options: SteadyCallerOptions): Promise<{ status: number; name: string; reason: string }> {
    const { path = RPC_REQUEST.path, type = 'application/json', body = RPC_REQUEST.body } = options
    const headers = { 'content-type': type, 'content-length': body.byteLength, 'shoal-idempotent': '1' }
    return new Promise((resolve) => {
      const unanswered = (error: Error) => resolve({ status: 0, name: '', reason: error.message })
      const to = { port: this.#port, host: '127.0.0.1', method: 'POST', path, headers, agent: this.#agent }
      const call = request(to, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part) => text += part)
        response.on('end', () => resolve({ status: response.statusCode ?? 0, name: nameIn(text), reason: text }))
        response.on('error', unanswered)
      })
      call.on('error', unanswered)
      call.end(body)
    })
  }
}

/** Who answered; nobody's name where the answer is not JSON. */
function nameIn(text: string): string {
  return text.startsWith('{') ? String((JSON.parse(text) as { name?: unknown }).name) : ''
}

async function poll(what: string, patienceMs: number, read: () => number | undefined): Promise<number> {
  for (const endsAtMs = performance.now() + patienceMs; performance.now() < endsAtMs;) {
    const value = read()
    if (value !== undefined) return value
    await sleep(systemClock, LOOK_MS)
  }
  throw new Error(`Cannot measure: it must come true within ${patienceMs} ms that ${what}`)
}
