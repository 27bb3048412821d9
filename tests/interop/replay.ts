import { connect } from 'node:net'
import { gunzipSync, inflateSync } from 'node:zlib'

export interface Replayed {
  status: number
  headers: Headers
  /** Unpacked. */
  body: Buffer
}

/** Sends a request byte for byte and reads its answer. @param request bytes as Latin-1, `{host}` for the address */
export function replay(url: string, request: string): Promise<Replayed> {
  const { hostname, port, host } = new URL(url)
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0)
    const socket = connect(Number(port), hostname, () => socket.write(request.replace('{host}', host), 'latin1'))
    const look = (ended: boolean) => {
      const answer = read(got)
      if (answer) resolve(answer)
      else if (ended) reject(new Error(`Expected an answer, got ${JSON.stringify(got.toString('latin1'))}`))
      else return
      socket.destroy()
    }
    socket.on('data', (data: Buffer) => {
      got = Buffer.concat([got, data])
      look(false)
    })
    socket.on('end', () => look(true))
    socket.on('error', reject)
  })
}

/** @returns undefined while some of the answer is missing */
function read(got: Buffer): Replayed | undefined {
  const end = got.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [statusLine = '', ...lines] = got.toString('latin1', 0, end).split('\r\n')
  const headers = new Headers(lines.map((line) => line.split(/:\s*/, 2) as [string, string]))
  const length = headers.get('content-length')
  const rest = got.subarray(end + 4)
  const body = length === null ? unchunk(rest) : rest.length < Number(length) ? undefined : rest
  const coding = headers.get('content-encoding')
  if (!body) return undefined
  const unpacked = coding === 'gzip' ? gunzipSync(body) : coding === 'deflate' ? inflateSync(body) : body
  return { status: Number(statusLine.split(' ')[1]), headers, body: unpacked }
}

function unchunk(bytes: Buffer): Buffer | undefined {
  const chunks: Buffer[] = []
  for (let at = 0;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    const size = lineEnd < 0 ? NaN : parseInt(bytes.toString('latin1', at, lineEnd), 16)
    if (Number.isNaN(size) || bytes.length < lineEnd + 2 + size + 2) return undefined
    if (size === 0) return Buffer.concat(chunks)
    chunks.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
    at = lineEnd + 2 + size + 2
  }
}
