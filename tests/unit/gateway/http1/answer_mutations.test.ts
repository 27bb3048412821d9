import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import process from 'node:process'
import { expect, it } from 'vitest'
import { MalformedAnswer } from '../../../../functions/gateway/http1/answer_head.ts'
import { AnswerReader } from '../../../../functions/gateway/http1/answer_reader.ts'
import { type Random, seededRandom } from '../../../../shared/base/random.ts'

const SEED = Number(process.env.SHOAL_HTTP_SEED ?? 1)
const MUTANTS = Number(process.env.SHOAL_HTTP_MUTANTS ?? 4000)
const MAX_BYTES = 1 << 20

const ANSWERS = [
  'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\nX-A: b\r\n\r\n{"a":"b c"}',
  'HTTP/1.1 503 Busy\r\ncontent-length: 2\r\nretry-after: 2\r\nconnection: close\r\n\r\n{}',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: 1\r\n\r\n4;e=f\r\nabcd\r\nA\r\n0123456789\r\n0\r\nx-t: u\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc',
  'HTTP/1.1 200 OK\r\nx-a: b\r\n\r\nuntil it ends',
  'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nabc',
  'HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n',
]
/** What two readers have been known to take differently. */
const BITS = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '0',
  '1',
  '\0',
  '\x80',
  'content-length: 1\r\n',
  'transfer-encoding: chunked\r\n',
  'connection: close\r\n',
  'HTTP/1.1 200 OK\r\n',
]

it('an answer that is taken at all reads as it does for Node', async () => {
  const random = seededRandom(SEED)
  const answers: Buffer[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answers.shift() ?? ''))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const taken: string[] = []
  for (let i = 0; i < MUTANTS; i++) {
    const text = mutated(ANSWERS[i % ANSWERS.length] ?? '', random)
    const ours = read(text)
    if (!ours) continue
    taken.push(text)
    answers.push(Buffer.from(text, 'latin1'))
    expect({ text, ...ours }).toEqual({ text, ...await readByNode(port) })
  }
  server.close()
  await once(server, 'close')
  // Most mutants are none: a good part must have been compared, and not those alone that nothing befell.
  expect(taken.length).toBeGreaterThan(MUTANTS / 5)
  expect(taken.filter((text) => !ANSWERS.includes(text)).length).toBeGreaterThan(MUTANTS / 6)
})

function mutated(text: string, random: Random): string {
  const below = (bound: number) => Math.floor(random() * bound)
  for (let left = 1 + below(2); left > 0; left--) {
    const at = below(text.length)
    const bit = BITS[below(BITS.length)] ?? ''
    const until = at + below(2) * below(4)
    text = text.slice(0, at) + (random() < 0.8 ? bit : '') + text.slice(until)
  }
  return text
}

interface Outcome {
  status: number | undefined
  xA: string | undefined
  body: string
}

function read(text: string): Outcome | undefined {
  try {
    const reader = new AnswerReader(MAX_BYTES)
    const answer = reader.read(Buffer.from(text, 'latin1')) ?? reader.end()
    if (!answer) return undefined
    const { status, headers, body } = answer
    return { status, xA: headers.get('x-a'), body: Buffer.from(body).toString('latin1') }
  } catch (thrown) {
    if (thrown instanceof MalformedAnswer) return undefined
    throw thrown
  }
}

/** A connection that is at fault after the answer does not make that another. */
function readByNode(port: number): Promise<Outcome | { failure: string }> {
  return new Promise((resolve) => {
    const request = httpRequest({ port, host: '127.0.0.1', method: 'POST', agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part) => parts.push(part))
      response.on('error', (error) => resolve({ failure: error.message }))
      response.on('end', () => {
        const { statusCode: status, headers } = response
        resolve({ status, xA: headers['x-a'] as string | undefined, body: Buffer.concat(parts).toString('latin1') })
      })
    })
    request.on('error', (error) => setImmediate(() => resolve({ failure: error.message })))
    request.end('{}')
  })
}
