import { connect } from 'node:net'

export interface LoadOptions {
  path: string
  headers: Record<string, string>
  body: Uint8Array
  connections: number
  forMs: number
}

/**
 * An HTTP/1.1 load generator that costs little itself, so that what is measured is the server: prebuilt requests over
 * keep-alive connections, one in flight on each, answers framed by their content-length.
 * @throws Error if any answer is not 200
 */
export async function load(port: number, options: LoadOptions): Promise<{ requests: number; perSecond: number }> {
  const headers = { host: `127.0.0.1:${port}`, 'content-length': String(options.body.byteLength), ...options.headers }
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const message = Buffer.concat([Buffer.from(`POST ${options.path} HTTP/1.1\r\n${head}\r\n`), options.body])
  let requests = 0
  const startedAtMs = performance.now()
  const endsAtMs = startedAtMs + options.forMs
  const next = () => {
    if (performance.now() >= endsAtMs) return false
    requests++
    return true
  }
  await Promise.all(Array.from({ length: options.connections }, () => connection(port, message, next)))
  return { requests, perSecond: requests / ((performance.now() - startedAtMs) / 1000) }
}

function connection(port: number, message: Buffer, next: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let pending: Buffer = Buffer.alloc(0)
    const send = () => next() ? void socket.write(message) : void socket.end(resolve)
    socket.on('connect', send)
    socket.on('error', reject)
    socket.on('data', (data) => {
      pending = pending.length === 0 ? data : Buffer.concat([pending, data])
      const end = pending.indexOf('\r\n\r\n')
      if (end < 0) return
      const head = pending.toString('latin1', 0, end)
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
      if (pending.length < end + 4 + length) return
      if (!head.startsWith('HTTP/1.1 200')) {
        return reject(new Error(`Cannot measure: expected 200, got ${pending.toString('latin1', 0, 400)}`))
      }
      pending = pending.subarray(end + 4 + length)
      send()
    })
  })
}
