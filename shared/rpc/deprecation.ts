import { LIMITS } from '../base/limits.ts'
import type { Metadata } from './metadata.ts'

/** Why callers should stop using something and what to use instead; with the day from which that holds, if it is known. */
export type Deprecation = string | {
  readonly note: string
  /** A date such as 2026-11-01. */
  readonly since: string
}

/** What a caller learns of it. */
export interface DeprecationNotice {
  service: string
  method: string
  note: string
}

/** The note among an answer's metadata. */
export const NOTE_NAME = 'shoal-deprecated'

export function noteOf(deprecation: Deprecation): string {
  return typeof deprecation === 'string' ? deprecation : deprecation.note
}

/** The note as metadata, and the day as in RFC 9745: seconds since 1970 behind an @. */
export function metadataOf(deprecation: Deprecation): Metadata {
  // What a header cannot carry must not fail the call that it is a remark on.
  const note = noteOf(deprecation).replace(/[^ -~]+/g, '?').slice(0, LIMITS.maxNameLength).trim()
  if (typeof deprecation === 'string') return { [NOTE_NAME]: note }
  return { [NOTE_NAME]: note, deprecation: `@${Math.floor(Date.parse(deprecation.since) / 1000)}` }
}
