import type { Clock } from '../../shared/base/clock.ts'

/** A process under virtual time: its clock may be off and run at another rate; it can be paused and crash. */
export class SimProcess implements Clock {
  readonly name: string
  readonly #time: Clock
  readonly #rate: number
  readonly #offsetMs: number
  #state: 'running' | 'paused' | 'dead' = 'running'
  #waiting: (() => void)[] = []

  constructor(name: string, time: Clock, { rate, offsetMs }: { rate: number; offsetMs: number }) {
    this.name = name
    this.#time = time
    this.#rate = rate
    this.#offsetMs = offsetMs
  }

  get isRunning(): boolean {
    return this.#state === 'running'
  }

  get isDead(): boolean {
    return this.#state === 'dead'
  }

  now(): number {
    return this.#offsetMs + this.#time.now() * this.#rate
  }

  after(delayMs: number, task: () => void): () => void {
    let isCancelled = false
    const cancel = this.#time.after(delayMs / this.#rate, () => this.run(() => isCancelled || task()))
    return () => {
      isCancelled = true
      cancel()
    }
  }

  /** Runs a callback of this process: at once, when it wakes, or never. */
  run(task: () => void): void {
    if (this.#state === 'running') task()
    else if (this.#state === 'paused') this.#waiting.push(task)
  }

  /** As SIGSTOP does. */
  pause(): void {
    if (this.#state === 'running') this.#state = 'paused'
  }

  /** As SIGCONT does: what came meanwhile runs now. */
  wake(): void {
    if (this.#state !== 'paused') return
    this.#state = 'running'
    for (const task of this.#waiting.splice(0)) task()
  }

  /** As SIGKILL does: nothing of it runs any more. */
  kill(): void {
    this.#state = 'dead'
    this.#waiting = []
  }
}
