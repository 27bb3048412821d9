import process from 'node:process'
import type { ModelManifest } from '../../shared/wire/signature.ts'
import type { RunEvent } from './run.ts'

export interface TrainingDisplay {
  gateway(url: string, isOwn: boolean): void
  show(event: RunEvent): void
  pushed(manifest: ModelManifest): void
  /** Ends a line that was being rewritten. */
  end(): void
}

/** Rewrites of the progress line per second at most; where the output is no terminal, lines of steps are this far apart. */
const REDRAW_MS = 100
const LINE_MS = 2_000
/** Rates are of the last steps. */
const WINDOW = 20

/** What `shoal train` says: for people, or one JSON object per line. */
export function trainingDisplay(asJson: boolean): TrainingDisplay {
  return asJson ? new JsonDisplay() : new LiveDisplay(process.stdout)
}

class JsonDisplay implements TrainingDisplay {
  gateway(url: string): void {
    this.#write({ type: 'gateway', url })
  }
  show(event: RunEvent): void {
    this.#write(event)
  }
  pushed({ name, version, sha256 }: ModelManifest): void {
    this.#write({ type: 'pushed', name, version, sha256 })
  }
  end(): void {}

  #write(event: object): void {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`)
  }
}

class LiveDisplay implements TrainingDisplay {
  readonly #out: NodeJS.WriteStream
  readonly #recent: { samples: number; seconds: number }[] = []
  #totalSteps = 0
  #drawnAtMs = -Infinity
  #isOpen = false

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
  }

  gateway(url: string, isOwn: boolean): void {
    this.#line(`gateway  ${url}${isOwn ? '  (of this run: open /join there to help)' : ''}`)
  }

  pushed({ name, version }: ModelManifest): void {
    this.#line(`pushed   ${name} version ${version}`)
  }

  show(event: RunEvent): void {
    switch (event.type) {
      case 'prepared':
        return this.#line(
          `data     ${event.rows} rows (${megabytes(event.bytes)}), ${event.validationRows} of them for validation\n` +
            `model    ${event.parameters} parameters`,
        )
      case 'runs':
        return this.#line(`run      ${event.where}`)
      case 'waiting':
        return this.#line(
          `waiting  another coordinator leads this run (its lease ends in ${Math.ceil(event.heldForMs / 1000)} s)`,
        )
      case 'workers':
        return this.#line(
          `workers  ${event.workers.map(({ name, device }) => `${name} (${device})`).join(', ') || 'none: open /join'}`,
        )
      case 'started':
        this.#totalSteps = event.totalSteps
        return this.#line(`steps    ${event.step} of ${event.totalSteps} done, coordinator epoch ${event.epoch}`)
      case 'step':
        return this.#step(event)
      case 'evaluated': {
        const { loss, accuracy } = event.evaluation
        const right = accuracy === undefined ? '' : `, accuracy ${(100 * accuracy).toFixed(2)} %`
        return this.#line(
          `step ${event.step}  validation loss ${loss.toFixed(4)}${right}${event.isBest ? '  (best)' : ''}`,
        )
      }
      case 'checkpointed':
        return
      case 'ended':
        return this.#line(
          event.reason === 'interrupted'
            ? `interrupted at step ${event.step}, checkpoint written: go on with --resume`
            : `${event.reason} after ${event.step} steps`,
        )
      case 'written':
        return this.#line(`written  ${event.file} (${event.bytes} bytes, sha256 ${event.sha256})`)
    }
  }

  end(): void {
    if (this.#isOpen) this.#out.write('\n')
    this.#isOpen = false
  }

  #step(event: Extract<RunEvent, { type: 'step' }>): void {
    this.#recent.push(event)
    if (this.#recent.length > WINDOW) this.#recent.shift()
    const nowMs = performance.now()
    const isLast = event.step === this.#totalSteps
    if (!isLast && nowMs - this.#drawnAtMs < (this.#out.isTTY ? REDRAW_MS : LINE_MS)) return
    this.#drawnAtMs = nowMs
    const seconds = this.#recent.reduce((sum, step) => sum + step.seconds, 0)
    const rate = this.#recent.reduce((sum, step) => sum + step.samples, 0) / seconds
    const text =
      `step ${event.step}/${this.#totalSteps}  loss ${event.loss.toFixed(4)}  ${Math.round(rate)} samples/s  ` +
      `${event.workers} ${event.workers === 1 ? 'worker' : 'workers'}  ↑${megabytes(event.sentBytes)} ↓${
        megabytes(event.receivedBytes)
      } per step`
    if (!this.#out.isTTY) return this.#line(text)
    this.#out.write(`\r\x1b[2K${text}`)
    this.#isOpen = true
  }

  #line(text: string): void {
    this.#out.write(`${this.#isOpen ? '\r\x1b[2K' : ''}${text}\n`)
    this.#isOpen = false
  }
}

function megabytes(bytes: number): string {
  return bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`
}
