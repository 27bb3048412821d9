import { request, type RequestOptions } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { Inference } from '../../shared/contracts/inference.ts'
import { type Client, clientOver } from '../../shared/rpc/client.ts'
import type { HttpCodec } from '../../shared/rpc/http.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'

export interface Answer {
  status: number
  headers: Headers
  text: string
  /** The body as JSON; undefined where it is none. */
  json: Json
}

/** An answer whose shape the test knows: what is read of it is compared, so a wrong guess fails there. */
export type Json = ReturnType<typeof JSON.parse>

export interface AskOptions {
  /** Sent as JSON. */
  json?: unknown
  body?: BodyInit
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** One plain HTTP request, whatever its answer. */
export async function ask(url: string, method: string, path: string, options: AskOptions = {}): Promise<Answer> {
  const { json, signal } = options
  const isJson = json !== undefined
  const headers = { ...(isJson && { 'content-type': 'application/json' }), ...options.headers }
  if (signal) return await askAbortably(new URL(path, url), { method, headers }, JSON.stringify(json), signal)
  const response = await fetch(url + path, {
    method,
    headers,
    body: isJson ? JSON.stringify(json) : options.body,
    redirect: 'manual',
    ...(options.body instanceof ReadableStream && { duplex: 'half' }),
  })
  return { status: response.status, headers: response.headers, ...read(await response.text()) }
}

/**
 * A request whose caller hangs up for good when `signal` aborts. `fetch` would only end the connection, which workerd takes
 * for the end of the request alone: there, Cloudflare's edge tells it of callers who have gone.
 */
function askAbortably(url: URL, options: RequestOptions, body: string, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { ...options, agent: false }, async (response) => {
      const text = await new Response(Readable.toWeb(response) as ReadableStream).text()
      const headers = new Headers(Object.entries(response.headers).map(([name, value]) => [name, String(value)]))
      resolve({ status: response.statusCode ?? 0, headers, ...read(text) })
    })
    signal.addEventListener('abort', () => {
      sent.socket?.resetAndDestroy()
      reject(new DOMException('The caller hung up', 'AbortError'))
    }, { once: true })
    sent.on('error', reject)
    sent.end(body)
  })
}

/**
 * Sends a request as it stands, for what `fetch` would mend or refuse, and reads one answer. The connection is closed
 * after it.
 * @param head request line and headers but Host, without line ends
 */
export function askRaw(url: string, head: readonly string[], body = ''): Promise<{ status: number; text: string }> {
  const { hostname, port, host } = new URL(url)
  const [requestLine = '', ...headers] = head
  const hasHost = headers.some((header) => /^host:/i.test(header))
  const lines = [requestLine, ...(hasHost ? [] : [`Host: ${host}`]), 'Connection: close', ...headers]
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect(Number(port), hostname, () => socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`))
    const finish = () => {
      socket.destroy()
      const [, status] = /^HTTP\/1\.[01] (\d{3})/.exec(text) ?? []
      if (status) resolve({ status: Number(status), text })
      else reject(new Error(`Expected an HTTP answer to ${requestLine}, got ${JSON.stringify(text)}`))
    }
    socket.setEncoding('latin1')
    socket.on('data', (data: string) => {
      text += data
      // A server that still waits for the rest of a body answers, but does not hang up.
      if (isWhole(text)) finish()
    })
    socket.on('end', finish)
    socket.on('error', (error) => text ? finish() : reject(error))
  })
}

function isWhole(text: string): boolean {
  const [head = '', body] = text.split('\r\n\r\n', 2)
  const [, length] = /^content-length: (\d+)$/im.exec(head) ?? []
  return body !== undefined && length !== undefined && body.length >= Number(length)
}

/** The typed client of models over plain HTTP. */
export function inferenceAt(
  url: string,
  options: { codec?: HttpCodec; headers?: Record<string, string> } = {},
): Client<typeof Inference> {
  return clientOver(Inference, { transport: fetchTransport(url, options) })
}

export function bearer(key: string): { authorization: string } {
  return { authorization: `Bearer ${key}` }
}

function read(text: string): { text: string; json: unknown } {
  try {
    return { text, json: JSON.parse(text) }
  } catch {
    return { text, json: undefined }
  }
}
