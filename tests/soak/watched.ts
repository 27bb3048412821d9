import { type Inspected, inspectProcess } from '../../functions/operations/inspect.ts'
import { type ProcessReport } from '../../functions/operations/process_report.ts'

const MiB = 2 ** 20

/**
 * What of a process must not grow. It leaks if it surely grows by more than `perHour`, and has grown by `atLeast` in the
 * time measured: in a short run code that is still being compiled looks like much in an hour.
 */
export const QUANTITIES = {
  /** After a collection: what is held. */
  heapMiB: { read: ({ memory }: ProcessReport) => memory.heapUsedBytes / MiB, perHour: 6, atLeast: 1.5 },
  buffersMiB: { read: ({ memory }: ProcessReport) => memory.arrayBuffersBytes / MiB, perHour: 12, atLeast: 4 },
  /** The allocator's too: its holes come and go, hence the margin. */
  residentMiB: { read: ({ memory }: ProcessReport) => memory.rssBytes / MiB, perHour: 60, atLeast: 15 },
} as const

export type Quantity = keyof typeof QUANTITIES

/** A process that is measured over and over, through its inspector: it needs no face of its own for that. */
export class Watched {
  readonly name: string
  readonly samples: { atMs: number; report: ProcessReport }[] = []
  readonly #inspected: Inspected

  private constructor(name: string, inspected: Inspected) {
    this.name = name
    this.#inspected = inspected
  }

  static async open(name: string, pid: number): Promise<Watched> {
    return new Watched(name, await inspectProcess(pid))
  }

  /** Measures what is left after a collection. */
  async sample(): Promise<ProcessReport> {
    await this.#inspected.collectGarbage()
    const report = await this.#inspected.report()
    if (!report) throw new Error(`Cannot measure ${this.name}: it does not answer its inspector`)
    this.samples.push({ atMs: performance.now(), report })
    return report
  }

  series(quantity: Quantity, fromMs: number): { atMs: number; value: number }[] {
    return this.samples.filter(({ atMs }) => atMs >= fromMs)
      .map(({ atMs, report }) => ({ atMs, value: QUANTITIES[quantity].read(report) }))
  }

  close(): Promise<void> {
    return this.#inspected.close()
  }
}
