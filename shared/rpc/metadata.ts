import { kindOf, showForeign } from '../base/show.ts'
import { invalid } from '../wire/errors.ts'

/** What travels beside a message, as HTTP headers or in a frame's header. Names are lower case. */
export type Metadata = Readonly<Record<string, string>>

export const NO_METADATA: Metadata = Object.freeze({})

/** Names that no proxy, browser or server gives a meaning of its own: the caller's and the handler's, and ours. */
const NAME = /^(x-[a-z0-9-]+|shoal-[a-z0-9-]+|server-timing|deprecation)$/
/** What an HTTP header takes and gives back unchanged: printable ASCII without space at its ends. */
const VALUE = /^([!-~]([ -~]*[!-~])?)?$/

const PRINTABLE = /^[ -~]+$/

/** Request headers that begin with x- but are not the caller's word to the callee: about the connection, or secret. */
const NOT_OURS = /^x-(forwarded-.*|real-ip|api-key|auth-.*|csrf-.*)$/

/** @throws RpcError `invalid_argument` unless names and values are such as HTTP carries unchanged */
export function checkMetadata(value: unknown): Metadata {
  if (value === undefined) return NO_METADATA
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
    throw invalid(`Cannot read the metadata: it must map names to texts, got ${kindOf(value)}`)
  }
  for (const [name, entry] of Object.entries(value)) {
    const problem = problemOf(name, entry)
    if (problem) throw invalid(`Cannot read the metadata: ${problem}`)
  }
  return value as Metadata
}

/** @returns why an entry is no metadata, or undefined if it is */
export function problemOf(name: string, value: unknown): string | undefined {
  const shown = name.slice(0, 80)
  if (!NAME.test(name)) return `names must be lower case and begin with x-, got "${shown}"`
  if (typeof value === 'string' && VALUE.test(value)) return undefined
  // A value may be secret.
  const got = typeof value === 'string' ? wrongIn(value) : kindOf(value)
  return `"${shown}" must be a text of printable ASCII without space at its ends, got ${got}`
}

function wrongIn(value: string): string {
  return PRINTABLE.test(value) ? 'space there' : showForeign(value, PRINTABLE)
}

/** What a caller says to whoever routes its call. */
const FOR_ROUTERS: ReadonlySet<string> = new Set(['shoal-hash-key', 'shoal-balancer'])

/** The metadata among a request's headers. Credentials and what proxies add stay behind. */
export function metadataOfRequest(headers: HeaderEntries): Metadata {
  return pick(headers, isRequestMetadata)
}

/** The metadata among an answer's headers. */
export function metadataOfResponse(headers: HeaderEntries): Metadata {
  return pick(headers, isMetadata)
}

/** What the web's Headers, a Map and a runtime's own headers have in common. Names are lower case. */
export interface HeaderEntries {
  forEach(visit: (value: string, name: string) => void): void
}

/** Whether a request's header is part of its metadata. */
export function isRequestMetadata(name: string, value: string): boolean {
  return isMetadata(name, value) && (name.startsWith('x-') ? !NOT_OURS.test(name) : FOR_ROUTERS.has(name))
}

const [X, S, D] = ['x', 's', 'd'].map((letter) => letter.charCodeAt(0))

function isMetadata(name: string, value: string): boolean {
  // Most headers begin with another letter: no pattern need look at them.
  const first = name.charCodeAt(0)
  return (first === X || first === S || first === D) && NAME.test(name) && VALUE.test(value)
}

function pick(headers: HeaderEntries, isWanted: (name: string, value: string) => boolean): Metadata {
  let metadata: Record<string, string> | undefined
  headers.forEach((value, name) => {
    if (isWanted(name, value)) (metadata ??= {})[name] = value
  })
  return metadata ?? NO_METADATA
}
