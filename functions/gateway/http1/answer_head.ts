/** What stands before an answer's body. */
export interface AnswerHead {
  readonly status: number
  readonly statusText: string
  /** Names are in lower case; a field that came more than once has its values joined, as in the web's Headers. */
  readonly headers: ReadonlyMap<string, string>
  /** How long the body is: so many bytes, as its chunks say, or until the connection ends. */
  readonly framing: number | 'chunks' | 'rest'
  /** How long the other side keeps the connection without a request: 0 if not at all, undefined if it does not say. */
  readonly keptMs: number | undefined
}

/** An answer that breaks the rules of HTTP/1.1. Nothing that came with it is believed, and its connection is cut. */
export class MalformedAnswer extends Error {}

/**
 * A status line and fields, each on a line (RFC 9112, 4 and 5). No line ends in a bare LF, is folded, or has a space before its
 * colon: what two readers could take for two different answers is none.
 */
const HEAD = /^HTTP\/1\.[01] [1-5]\d\d(?: [\t -~\x80-\xff]*)?(?:\r\n[!#$%&'*+\-.^_`|~\dA-Za-z]+:[\t -~\x80-\xff]*)*$/
/** Fifteen digits are exact, and more than any body has. */
const LENGTH = /^\d{1,15}$/
/** Spaces, to HTTP; but there are parsers, Node's among them, that then see another value. */
const TABBED = /^(?:content-length|transfer-encoding):.*\t/im
const STATUS_AT = 'HTTP/1.1 '.length
const [SPACE, TAB] = [32, 9]

/**
 * Reads a head as RFC 9112 has it.
 * @param text in latin1, without the empty line at its end
 * @throws MalformedAnswer
 */
export function readHead(text: string): AnswerHead {
  if (!HEAD.test(text)) {
    throw new MalformedAnswer(`expected a head of HTTP/1.1, got ${JSON.stringify(text.slice(0, 80))}`)
  }
  const status = Number(text.slice(STATUS_AT, STATUS_AT + 3))
  const headers = new Map<string, string>()
  const lineEnd = endOfLine(text, 0)
  for (let at = lineEnd + 2; at < text.length;) {
    const end = endOfLine(text, at)
    const colon = text.indexOf(':', at)
    const name = text.slice(at, colon).toLowerCase()
    const value = trimmed(text, colon + 1, end)
    const earlier = headers.get(name)
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`)
    at = end + 2
  }
  return {
    status,
    statusText: text.slice(STATUS_AT + 4, lineEnd),
    headers,
    framing: framingOf(status, headers, text),
    // A body that none may have: it would be taken for the next answer.
    keptMs: status >= 200 && hasNoBody(status) && saysBody(headers) ? 0 : keptMsOf(headers, text),
  }
}

/** Without spaces and tabs around it. What JavaScript trims as well, a no-break space, is a letter to HTTP. */
function trimmed(text: string, from: number, until: number): string {
  while (from < until && isSpace(text.charCodeAt(from))) from++
  while (from < until && isSpace(text.charCodeAt(until - 1))) until--
  return text.slice(from, until)
}

function isSpace(code: number): boolean {
  return code === SPACE || code === TAB
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\r\n', from)
  return end < 0 ? text.length : end
}

const isOld = (text: string): boolean => text.startsWith('HTTP/1.0')

/** RFC 9112, 6.3. */
function framingOf(status: number, headers: ReadonlyMap<string, string>, text: string): AnswerHead['framing'] {
  const length = headers.get('content-length')
  const encoding = headers.get('transfer-encoding')
  if (encoding !== undefined && (length !== undefined || encoding.toLowerCase() !== 'chunked' || isOld(text))) {
    throw new MalformedAnswer(`expected transfer-encoding chunked and no content-length, got ${encoding.slice(0, 40)}`)
  }
  if (text.includes('\t') && TABBED.test(text)) {
    throw new MalformedAnswer('expected no tab in what says where it ends, got one')
  }
  if (length !== undefined && !LENGTH.test(length)) {
    throw new MalformedAnswer(`expected one content-length of at most 15 digits, got ${length.slice(0, 40)}`)
  }
  if (hasNoBody(status)) return 0
  if (encoding !== undefined) return 'chunks'
  return length === undefined ? 'rest' : Number(length)
}

/** Whatever its fields say. */
function hasNoBody(status: number): boolean {
  return status < 200 || status === 204 || status === 304
}

function saysBody(headers: ReadonlyMap<string, string>): boolean {
  return (headers.get('content-length') ?? '0') !== '0' || headers.has('transfer-encoding')
}

function keptMsOf(headers: ReadonlyMap<string, string>, text: string): number | undefined {
  const options = headers.get('connection')?.toLowerCase().split(/[\t ]*,[\t ]*/)
  if (options?.includes('close') || (isOld(text) && !options?.includes('keep-alive'))) return 0
  const seconds = /(?:^|[ ,])timeout=(\d{1,6})(?:$|[ ,])/i.exec(headers.get('keep-alive') ?? '')?.[1]
  return seconds === undefined ? undefined : Number(seconds) * 1000
}
