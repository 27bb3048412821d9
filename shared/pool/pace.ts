import { LIMITS } from '../base/limits.ts'

/** Weight of the newest run in an average: a device that gets hot or a tab that is hidden shows within a few runs. */
const NEWEST = 0.3
/** Sizes told apart: 1, 2, 4 … rows, as workers pad them, and all that is larger. */
const SIZES = Math.log2(LIMITS.maxBatch) + 2

/** Milliseconds that runs of one model take, by their size. */
export class Pace {
  /** 0 where nothing is known. */
  readonly #ms = new Float64Array(SIZES)

  note(rows: number, ms: number): void {
    const size = sizeOf(rows)
    const before = this.#ms[size] ?? 0
    this.#ms[size] = before === 0 ? Math.max(ms, MIN_MS) : before + NEWEST * (Math.max(ms, MIN_MS) - before)
  }

  /** What a run of so many rows takes, or one of the nearest size known, as if each row of a larger one took as long. */
  expect(rows: number): number | undefined {
    const size = sizeOf(rows)
    for (let away = 0; away < SIZES; away++) {
      const smaller = size - away >= 0 ? this.#ms[size - away] ?? 0 : 0
      if (smaller > 0) return smaller * 2 ** away
      const larger = this.#ms[size + away] ?? 0
      if (larger > 0) return larger
    }
    return undefined
  }
}

/** Keeps an average that was measured apart from one that was not. */
const MIN_MS = 1e-6

/** What is known of models whatever worker they run on, the longest unused forgotten first. */
export class ModelPaces {
  readonly #models = new Map<string, { pace: Pace; loadMs: number; work: number }>()

  /** @param weight of the worker that took so long; undefined if it has told none */
  note(model: string, rows: number, ms: number, loadMs: number, weight: number | undefined): void {
    let known = this.#models.get(model)
    if (!known) {
      this.#models.set(model, known = { pace: new Pace(), loadMs: 0, work: 0 })
      const [first] = this.#models.keys()
      if (this.#models.size > LIMITS.maxLoadedModels && first !== undefined) this.#models.delete(first)
    }
    known.pace.note(rows, ms)
    if (loadMs > 0) known.loadMs = known.loadMs === 0 ? loadMs : known.loadMs + NEWEST * (loadMs - known.loadMs)
    if (weight !== undefined) known.work += (known.work === 0 ? 1 : NEWEST) * (weight - known.work)
  }

  /** What a run takes on the workers that it usually has. */
  usual(model: string, rows: number): number | undefined {
    return this.#models.get(model)?.pace.expect(rows)
  }

  /** What it takes on a worker that it has not run on. */
  guess(model: string, rows: number, weight: number | undefined): number | undefined {
    const known = this.#models.get(model)
    if (!known || known.work === 0 || weight === undefined) return undefined
    const usual = known.pace.expect(rows)
    return usual === undefined ? undefined : usual * known.work / weight
  }

  loadMs(model: string): number {
    return this.#models.get(model)?.loadMs ?? 0
  }
}

function sizeOf(rows: number): number {
  return rows <= 1 ? 0 : Math.min(SIZES - 1, 32 - Math.clz32(rows - 1))
}
