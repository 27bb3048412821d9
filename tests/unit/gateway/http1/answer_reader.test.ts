import { expect, it } from 'vitest'
import { MalformedAnswer } from '../../../../functions/gateway/http1/answer_head.ts'
import { type Answer, AnswerReader, AnswerTooLong } from '../../../../functions/gateway/http1/answer_reader.ts'
import { LIMITS } from '../../../../shared/base/limits.ts'

const MAX_BYTES = 1000

type Read = Partial<Pick<Answer, 'status' | 'statusText' | 'keptMs'>> & { body: string; headers?: [string, string][] }

/** Answers, and what is read of them. Those that end with their connection say so by their name. */
const ANSWERS: Readonly<Record<string, [text: string, read: Read]>> = {
  'of a declared length': ['HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc', {
    status: 200,
    statusText: 'OK',
    body: 'abc',
    keptMs: undefined,
  }],
  'of length 0': ['HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\n\r\n', {
    status: 500,
    statusText: 'Oh No',
    body: '',
    keptMs: undefined,
  }],
  'without a reason': ['HTTP/1.1 200\r\ncontent-length: 1\r\n\r\na', { status: 200, statusText: '', body: 'a' }],
  'with fields in any case, with spaces, and twice': [
    'HTTP/1.1 200 OK\r\nX-A:\t one \r\nx-a:two\r\nX-Empty:\r\nx-n: \xa0\r\nContent-LENGTH: 1\r\n\r\na',
    {
      body: 'a',
      headers: [['x-a', 'one, two'], ['x-empty', ''], ['x-n', '\xa0'], ['content-length', '1']],
    },
  ],
  'in chunks, said in capitals': [
    'HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    { body: 'abc', keptMs: undefined },
  ],
  'in chunks': [
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0B;name="v; \x80";flag;word=1\r\n\r\n3456789\r\n\r\n00\r\nX-T: 1\r\n\r\n',
    { body: 'ab\r\n3456789\r\n', keptMs: undefined },
  ],
  'after interim ones': [
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 9\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na',
    { status: 200, body: 'a', headers: [['content-length', '1']] },
  ],
  'that has no body, whatever it says': ['HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n', {
    status: 204,
    body: '',
  }],
  'not modified': ['HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n', { status: 304, body: '' }],
  "that is its connection's last": ['HTTP/1.1 200 OK\r\nConnection: Foo , Close\r\ncontent-length: 1\r\n\r\na', {
    body: 'a',
    keptMs: 0,
  }],
  'of HTTP/1.0': ['HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na', { body: 'a', keptMs: 0 }],
  'of HTTP/1.0 that stays': [
    'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na',
    { body: 'a', keptMs: undefined },
  ],
  'that says how long it stays': [
    'HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nKeep-Alive: max=5, timeout=7\r\ncontent-length: 1\r\n\r\na',
    { body: 'a', keptMs: 7000 },
  ],
  'until the connection ends': ['HTTP/1.1 200 OK\r\nx-a: b\r\n\r\nall of it', { body: 'all of it', keptMs: 0 }],
  'until the connection ends, with nothing': ['HTTP/1.1 200 OK\r\n\r\n', { body: '', keptMs: 0 }],
}

it.each(Object.entries(ANSWERS))(
  'reads an answer %s, in whatever pieces it comes',
  (_, [text, { headers, ...read }]) => {
    const whole = Buffer.from(text, 'latin1')
    const splits = [[], Array.from(whole.keys()).slice(1), ...Array.from(whole.keys(), (at) => [at])]
    for (const at of splits) {
      const answer = readIn(whole, at)
      expect(answer && { ...answer, body: Buffer.from(answer.body).toString('latin1') }).toMatchObject(read)
      if (headers) expect([...answer?.headers ?? []]).toEqual(headers)
    }
  },
)

it('reads one after another', () => {
  const reader = new AnswerReader(MAX_BYTES)
  const texts = ['5\r\n\r\nfirst', '3\r\n\r\n2nd', '5\r\n\r\nthird', '5\r\n\r\nforth']
  const bodies = texts.map((text) => reader.read(Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${text}`))?.body)
  expect(bodies.map((body) => Buffer.from(body ?? []).toString())).toEqual(['first', '2nd', 'third', 'forth'])
})

it('says of an answer with something after it that it is the last', () => {
  for (const text of ['content-length: 1\r\n\r\na', 'transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n']) {
    const answer = readIn(Buffer.from(`HTTP/1.1 200 OK\r\n${text}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged`))
    expect([Buffer.from(answer?.body ?? []).toString(), answer?.keptMs]).toEqual(['a', 0])
  }
})

const OK = 'HTTP/1.1 200 OK\r\n'
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`

it.each([
  ['another protocol', 'SSH-2.0-OpenSSH_9.6\r\n\r\n'],
  ['HTTP/2', 'HTTP/2 200\r\n\r\n'],
  ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['nothing but its end', '\r\n\r\n'],
  ['no status', 'HTTP/1.1 OK\r\n\r\n'],
  ['a switch of protocols', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n'],
  ['an interim answer in HTTP/1.0', `HTTP/1.0 100 Continue\r\n\r\n${OK}content-length: 0\r\n\r\n`],
  ['an interim answer as the last', `HTTP/1.1 103\r\nconnection: close\r\n\r\n${OK}content-length: 0\r\n\r\n`],
  ['lines that end in LF', 'HTTP/1.1 200 OK\ncontent-length: 1\n\r\n\r\na'],
  ['a CR within a line', `${OK}x-a: b\rcontent-length: 1\r\n\r\na`],
  ['an LF within a line', `${OK}x-a: b\ncontent-length: 1\r\n\r\na`],
  ['a NUL', `${OK}x-a: \0\r\n\r\n`],
  ['a folded line', `${OK}x-a: b\r\n c\r\n\r\n`],
  ['a space before the colon', `${OK}content-length : 1\r\n\r\na`],
  ['a field without a name', `${OK}: 1\r\n\r\n`],
  ['a line without a colon', `${OK}content-length\r\n\r\n`],
  ['a length that is none', `${OK}content-length: 1x\r\n\r\na`],
  ['a negative length', `${OK}content-length: -1\r\n\r\na`],
  ['a hexadecimal length', `${OK}content-length: 0x1\r\n\r\na`],
  ['an empty length', `${OK}content-length:\r\n\r\na`],
  ['a length with a tab', `${OK}content-length:\t1\r\n\r\na`],
  ['an encoding with a tab', `${OK}transfer-encoding: chunked\t\r\n\r\n0\r\n\r\n`],
  ['two lengths', `${OK}content-length: 1\r\ncontent-length: 2\r\n\r\nab`],
  ['the same length twice', `${OK}content-length: 1\r\ncontent-length: 1\r\n\r\na`],
  ['a length and chunks', `${OK}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n`],
  ['another encoding', `${OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ['chunks twice', `${OK}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a chunk without a size', `${CHUNKED}\r\n`],
  ['a size that is none', `${CHUNKED}x\r\n`],
  ['a negative size', `${CHUNKED}-1\r\n`],
  ['a size with a prefix', `${CHUNKED}0x1\r\na\r\n0\r\n\r\n`],
  ['a size with a space', `${CHUNKED} 1\r\na\r\n0\r\n\r\n`],
  ['a size of nine digits', `${CHUNKED}100000000\r\n`],
  ['a size that ends in LF', `${CHUNKED}1\na\r\n0\r\n\r\n`],
  ['a size with a space after it', `${CHUNKED}1 ;a\r\na\r\n0\r\n\r\n`],
  ['an extension without a name', `${CHUNKED}1;=b\r\na\r\n0\r\n\r\n`],
  ['a length after the chunks', `${CHUNKED}0\r\nContent-Length: 1\r\n\r\n`],
  ['a trailer that is none', `${CHUNKED}0\r\nx t: 1\r\n\r\n`],
  ['an extension with a CR', `${CHUNKED}1;a\rb\r\na\r\n0\r\n\r\n`],
  ['a chunk longer than its size', `${CHUNKED}1\r\nab\r\n0\r\n\r\n`],
  ['a chunk that ends in LF', `${CHUNKED}1\r\na\n0\r\n\r\n`],
  ['extensions without end', `${CHUNKED}1;${'x'.repeat(5000)}\r\n`],
  ['trailers without end', `${CHUNKED}0\r\n${'x: y\r\n'.repeat(1000)}\r\n`],
])('refuses %s', (_, text) => {
  const whole = Buffer.from(text, 'latin1')
  expect(() => readIn(whole)).toThrow(MalformedAnswer)
  expect(() => readIn(whole, Array.from(whole.keys()).slice(1))).toThrow(MalformedAnswer)
})

it('keeps no connection on which a body may follow that none can have', () => {
  for (const head of ['204 No Content\r\ncontent-length: 5', '304 Not Modified\r\ntransfer-encoding: chunked']) {
    expect(readIn(Buffer.from(`HTTP/1.1 ${head}\r\n\r\n`))).toMatchObject({ keptMs: 0, body: { byteLength: 0 } })
  }
  expect(readIn(Buffer.from('HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n'))?.keptMs).toBeUndefined()
})

it('takes few interim answers', () => {
  const [few, many] = [100, 1000].map((count) => 'HTTP/1.1 100 \r\n\r\n'.repeat(count))
  expect(readIn(Buffer.from(`${few}${OK}content-length: 1\r\n\r\na`))?.body.byteLength).toBe(1)
  expect(() => readIn(Buffer.from(`${many}${OK}content-length: 1\r\n\r\na`))).toThrow(MalformedAnswer)
})

it('joins chunks as they come, up to the last byte that it takes', () => {
  const whole = Buffer.from(`${CHUNKED}${'1\r\na\r\n'.repeat(MAX_BYTES)}0\r\n\r\n`)
  for (const at of [[], Array.from(whole.keys()).slice(1)]) {
    expect(Buffer.from(readIn(whole, at)?.body ?? []).toString()).toBe('a'.repeat(MAX_BYTES))
  }
})

it('bounds heads and bodies, however they come', () => {
  const long = Buffer.from(`${OK}x-a: ${'b'.repeat(LIMITS.maxAnswerHeadBytes)}\r\n\r\n`)
  expect(() => readIn(long)).toThrow(MalformedAnswer)
  expect(() => readIn(long, Array.from(long.keys()).slice(1))).toThrow(MalformedAnswer)
  // A head is not too long for what follows it.
  const nearly = `${OK}x-a: ${'b'.repeat(LIMITS.maxAnswerHeadBytes - 100)}\r\ncontent-length: ${MAX_BYTES}\r\n\r\n`
  expect(readIn(Buffer.from(nearly + 'a'.repeat(MAX_BYTES)))?.body.byteLength).toBe(MAX_BYTES)
  const body = 'a'.repeat(MAX_BYTES + 1)
  // One that declares too much is refused before it comes.
  const tooLong = [`content-length: ${MAX_BYTES + 1}\r\n\r\n`, `\r\n${body}`, `content-length: 999999999999999\r\n\r\n`]
  for (const text of [...tooLong.map((rest) => OK + rest), `${CHUNKED}3E9\r\n${body}`]) {
    expect(() => readIn(Buffer.from(text))).toThrow(AnswerTooLong)
  }
})

it('gives nothing for an answer that breaks off', () => {
  for (const [name, [text]] of Object.entries(ANSWERS)) {
    const whole = Buffer.from(text, 'latin1')
    const endsItself = !name.startsWith('until')
    for (let length = 0; endsItself && length < whole.byteLength; length++) {
      expect(readIn(whole.subarray(0, length))).toBeUndefined()
    }
  }
})

/**
 * Reads bytes in pieces that are written over when they were read.
 * @param at where the second and later pieces begin
 */
function readIn(whole: Buffer, at: readonly number[] = []): Answer | undefined {
  const reader = new AnswerReader(MAX_BYTES)
  const bounds = [0, ...at, whole.byteLength]
  for (const [i, from] of bounds.slice(0, -1).entries()) {
    const piece = Buffer.from(whole.subarray(from, bounds[i + 1]))
    const answer = reader.read(piece)
    piece.fill('#')
    if (answer) return answer
  }
  return reader.end()
}
