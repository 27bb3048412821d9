import { show, showForeign } from '../../../shared/base/show.ts'
import { invalid } from '../../../shared/wire/errors.ts'

/**
 * Names of a request's fields (RFC 9110, 5.1), but for those that say where it ends, whose connection it is on or what becomes
 * of that: nobody's headers may change those.
 */
const NAME =
  /^(?!(?:host|connection|keep-alive|content-length|transfer-encoding|te|trailer|upgrade|expect)$)[!#$%&'*+\-.^_`|~\dA-Za-z]+$/i
const VALUE = /^[\t -~\x80-\xff]*$/
const LETTER = /^[\t -~\x80-\xff]$/

/** The request line of a POST and its Host. @param path in the form that URLs have it @param host with its port, if not the usual */
export function requestLine(path: string, host: string): string {
  return `POST ${path} HTTP/1.1\r\nhost: ${host}\r\n`
}

/**
 * Fields as lines of a head.
 * @param trusted names of literals, which need no look
 * @throws RpcError `invalid_argument` where one cannot be sent
 */
export function fieldLines(fields: Readonly<Record<string, string>>, trusted?: ReadonlySet<string>): string {
  let lines = ''
  for (const name in fields) {
    const value = fields[name] ?? ''
    if (!VALUE.test(value) || !(trusted?.has(name) || NAME.test(name))) {
      const got = showForeign(value, LETTER)
      throw invalid(`Cannot send the request: the header ${show(name)} must be one that HTTP carries, got ${got}`)
    }
    lines += `${name}: ${value}\r\n`
  }
  return lines
}

/** The last lines of a head. @param bytes of the body */
export function endOfHead(bytes: number): string {
  return `content-length: ${bytes}\r\n\r\n`
}
