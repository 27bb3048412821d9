import { byteLengthOf, type Bytes, concat, EMPTY, encodeUtf8, readAll } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { readBody } from '../../../shared/rpc/http.ts'
import { withStatus } from '../../../shared/rpc/http_error.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'

/**
 * Bodies of `/v2/models/{m}/infer`: JSON, and behind it the raw data of tensors that say so (Triton's binary tensor data
 * extension). The header `Inference-Header-Content-Length` counts the bytes of JSON, before compression.
 */
export const HEADER_LENGTH = 'inference-header-content-length'

/** Content codings by their names in HTTP, which means zlib's format by `deflate`, as the web's streams do. */
const CODINGS: readonly string[] = ['gzip', 'deflate']

/** Raw data begin at a multiple of this, so that whoever reads them need not copy: the largest element has 8 bytes. */
const ALIGNMENT = 8

/** From this size on, a body's parts are written one by one: copying them into one costs more than the stream. */
const STREAMED_BYTES = 1 << 20

/**
 * Reads a request's body, unpacked.
 * @returns `json` undefined where the body is one raw tensor and nothing else (a header length of 0)
 * @throws RpcError `resource_exhausted` (413) if it is longer than LIMITS.maxMessageBytes, packed or not
 */
export async function readInferBody(request: Request): Promise<{ json: Bytes | undefined; raw: Bytes }> {
  const body = await readUnpacked(request)
  const declared = request.headers.get(HEADER_LENGTH)
  if (declared === null) return { json: body, raw: EMPTY }
  if (!/^\d{1,15}$/.test(declared) || Number(declared) > body.byteLength) {
    throw invalid(
      `Cannot read the request: Inference-Header-Content-Length must be from 0 to the ${body.byteLength} bytes of the body, got "${
        declared.slice(0, 20)
      }"`,
    )
  }
  const length = Number(declared)
  return { json: length === 0 ? undefined : body.subarray(0, length), raw: body.subarray(length) }
}

async function readUnpacked(request: Request): Promise<Bytes> {
  const coding = request.headers.get('content-encoding')?.toLowerCase() ?? 'identity'
  if (!CODINGS.includes(coding) || !request.body) return await readBody(request, LIMITS.maxMessageBytes)
  // Bounded before it is unpacked as well: gzip may be long and hold nothing.
  const packed = await readAll(request.body, LIMITS.maxMessageBytes).catch((cause) => {
    throw new RpcError('canceled', 'Cannot read the request: its body broke off', { cause })
  })
  if (!packed) throw tooLong('')
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream(coding as 'gzip'))
  const bytes = await readAll(unpacked, LIMITS.maxMessageBytes).catch((cause) => {
    throw invalid(`Cannot read the request: its body must be ${coding} as content-encoding says`, { cause })
  })
  if (!bytes) throw tooLong('unpacked, ')
  return bytes
}

function tooLong(how: string): RpcError {
  const reason = `Cannot read the request: ${how}its body may have at most ${LIMITS.maxMessageBytes} bytes, got more`
  return withStatus(413, new RpcError('resource_exhausted', reason))
}

/**
 * The answer's body: `message` as JSON, and `parts` behind it.
 * @param accept the request's Accept-Encoding. One coding alone is a wish, and is granted; the lists that browsers and
 *   the like send with everything are not: tensors seldom shrink, and packing them costs more than it saves
 */
export function inferResponse(
  message: unknown,
  parts: readonly Bytes[],
  metadata: Readonly<Record<string, string>>,
  accept: string | null,
): Response {
  const text = JSON.stringify(message)
  const headers: Record<string, string> = { ...metadata, 'content-type': 'application/json' }
  let body: (Bytes | string)[] = [text]
  if (parts.length > 0) {
    const json = padded(text)
    headers['content-type'] = 'application/octet-stream'
    headers[HEADER_LENGTH] = String(json.byteLength)
    body = [json, ...parts]
  }
  const coding = accept?.trim().toLowerCase() ?? ''
  if (!CODINGS.includes(coding)) return plain(body, headers)
  headers['content-encoding'] = coding
  headers.vary = 'accept-encoding'
  const packed = new Blob(body).stream().pipeThrough(new CompressionStream(coding as 'gzip'))
  // workerd would pack it a second time otherwise; other runtimes know no such option.
  return new Response(packed, { headers, encodeBody: 'manual' } as ResponseInit)
}

function plain(body: readonly (Bytes | string)[], headers: Record<string, string>): Response {
  const [first = EMPTY] = body
  if (body.length === 1) return new Response(first, { headers })
  const parts = body as readonly Bytes[]
  const length = byteLengthOf(parts)
  if (length < STREAMED_BYTES) return new Response(concat(parts), { headers })
  return new Response(streamOf(parts), { headers: { ...headers, 'content-length': String(length) } })
}

function streamOf(parts: readonly Bytes[]): ReadableStream<Bytes> {
  const left = parts.filter(({ byteLength }) => byteLength > 0).values()
  return new ReadableStream({
    pull(controller) {
      const { value } = left.next()
      if (value) controller.enqueue(value)
      else controller.close()
    },
  }, { highWaterMark: 0 })
}

/** Spaces behind JSON mean nothing. */
function padded(text: string): Bytes {
  const json = encodeUtf8(text)
  const spaces = -json.byteLength & (ALIGNMENT - 1)
  return spaces === 0 ? json : encodeUtf8(text + ' '.repeat(spaces))
}
