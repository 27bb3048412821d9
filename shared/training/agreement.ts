import { DEFAULTS } from '../base/defaults.ts'
import type { Random } from '../base/random.ts'
import type { WireFormat } from '../contracts/training.ts'

/**
 * How far two sums of the same shards may be apart, as a share of their length: devices round differently, and so do wire
 * formats; int8 also carries over what each worker rounded off before.
 */
export const TOLERANCES: Readonly<Record<WireFormat, number>> = { fp32: 1e-3, fp16: 5e-3, int8: 0.1 }

/** Rounding of one float32 term of the sum, with room: gradients that cancel to almost nothing leave no less. */
const NOISE_PER_ROW = 1e-6
/** Loss and sample weight stand at the end of every sum, in evaluations the number of right answers and the weight. */
const TAIL = 2

/** Euclidean length of a sum's gradients; NaN or Infinity if any of its values is. One pass: squares of float32 stay finite. */
export function gradientNorm(sum: Float32Array): number {
  const count = Math.max(0, sum.length - TAIL)
  // Four sums at once: one alone would wait for each of its own additions.
  let [a, b, c, d] = [0, 0, 0, 0]
  const even = count - count % 4
  for (let i = 0; i < even; i += 4) {
    a += (sum[i] as number) * (sum[i] as number)
    b += (sum[i + 1] as number) * (sum[i + 1] as number)
    c += (sum[i + 2] as number) * (sum[i + 2] as number)
    d += (sum[i + 3] as number) * (sum[i + 3] as number)
  }
  for (let i = even; i < count; i++) a += (sum[i] as number) * (sum[i] as number)
  let tail = 0
  for (let i = count; i < sum.length; i++) tail += (sum[i] as number) * 0
  return Math.sqrt(a + b + c + d) + tail
}

/** Whether two workers' sums of the same shards are the same but for rounding. Weights count rows: they must be equal. */
export function agree(a: Float32Array, b: Float32Array, tolerance: number): boolean {
  const count = a.length - TAIL
  const rows = a.at(-1) ?? NaN
  if (a.length !== b.length || rows !== b.at(-1)) return false
  let [squares, length] = [0, 0]
  for (let i = 0; i < count; i++) {
    const [x, y] = [a[i] as number, b[i] as number]
    squares += (x - y) * (x - y)
    length += x * x
  }
  const noise = NOISE_PER_ROW * Math.abs(rows) * Math.sqrt(count)
  if (Math.sqrt(squares) > Math.max(tolerance * Math.sqrt(length), noise)) return false
  // A loss, or how many answers were right: of two that are equally likely, devices may prefer either.
  const [x, y] = [a[count] ?? NaN, b[count] ?? NaN]
  return Math.abs(x - y) <= 1 + 0.01 * Math.abs(x)
}

/** What a round must know to doubt a result. */
export interface Doubts {
  /** The member whose first result is computed again by another, whatever it is. */
  readonly audited?: string
  /** Length of a gradient per row of weight 1, as it was lately; 0 if not known. */
  readonly typicalNorm: number
  readonly tolerance: number
}

/** A member's record: results that another worker's agreed with. */
export interface MemberRecord {
  readonly id: string
  readonly agreements: number
}

/**
 * Whom to audit in this round, as BOINC does with adaptive replication: the member that was checked least, in a share of
 * rounds that falls with its agreements. One result per round at most, since it is waited for.
 */
export function chooseAudited(members: readonly MemberRecord[], random: Random): string | undefined {
  if (members.length < 2) return undefined
  const least = members.reduce((a, b) => b.agreements < a.agreements ? b : a)
  return random() < auditShare(least.agreements) ? least.id : undefined
}

/** Share of rounds. Source: Anderson et al., "Adaptive replication" of BOINC: confidence grows with each agreement. */
export function auditShare(agreements: number): number {
  const { trainingAuditShare: first, trainingAuditMinShare: least, trainingAuditAgreements: trusted } = DEFAULTS
  return Math.max(least, first * Math.min(1, trusted / agreements))
}

/** Lengths of the last gradients, by which one out of all proportion is known. */
export class TypicalNorm {
  readonly #norms: number[] = []

  add(norm: number, rows: number): void {
    if (rows > 0) this.#norms.push(norm / rows)
    if (this.#norms.length > DEFAULTS.trainingNormWindow) this.#norms.shift()
  }

  /** Their median; 0 until there are a few. */
  get value(): number {
    if (this.#norms.length < MIN_NORMS) return 0
    return this.#norms.toSorted((a, b) => a - b)[this.#norms.length >> 1] ?? 0
  }
}

const MIN_NORMS = 4
