import type { Health } from './round.ts'

/** What is known of a member from round to round. */
export interface MemberRecord {
  /** Results that another member's agreed with. */
  agreements?: number
  /** It gave something else than two others: it is asked no more. */
  isDistrusted?: boolean
  /** Hash of the parameters it was sent last. */
  holds?: string
  health?: Health
}

/** Of the members that are there. */
export class MemberRecords {
  readonly #known = new Map<string, MemberRecord>()

  of(id: string): MemberRecord {
    return this.#known.get(id) ?? {}
  }

  note(id: string, more: MemberRecord): void {
    this.#known.set(id, { ...this.#known.get(id), ...more })
  }

  forget(id: string): void {
    this.#known.delete(id)
  }

  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id)
  }
}
