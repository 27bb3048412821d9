import { type Running, startCli } from '../fixtures/process.ts'

/** How a worker that came goes again, in turn. */
const WAYS = ['SIGTERM', 'SIGKILL'] as const

/** Workers that join and leave beside those that stay: every other one is killed. */
export class Churn {
  joined = 0
  left = 0
  killed = 0
  readonly #url: string
  readonly #home: string
  #present: Running | undefined

  constructor(url: string, home: string) {
    this.#url = url
    this.#home = home
  }

  /** The next step: one more worker joins, or the one that is there goes. */
  async step(): Promise<void> {
    const leaving = this.#present
    if (!leaving) {
      const name = `guest-${++this.joined}`
      const args = ['worker', '--device', 'wasm', '--name', name, '--gateway', this.#url]
      this.#present = startCli(args, { env: { HOME: this.#home } })
      await this.#present.wrote(/: serving /)
      return
    }
    this.#present = undefined
    const way = WAYS[this.joined % WAYS.length] ?? 'SIGTERM'
    leaving.signal(way)
    await leaving.ended
    if (way === 'SIGKILL') this.killed++
    else this.left++
  }

  async stop(): Promise<void> {
    await this.#present?.stop()
    this.#present = undefined
  }
}
