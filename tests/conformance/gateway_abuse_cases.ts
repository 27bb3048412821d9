import { describe, expect, it } from 'vitest'
import { sha256Hex } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { encodeBundle } from '../../shared/models/bundle.ts'
import { sealEnvelope } from '../../shared/rpc/envelope.ts'
import { SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { encodeFrame } from '../../shared/wire/frame.ts'
import { identityModel } from '../fixtures/models.ts'
import { eventually } from './expectations.ts'
import { enrol, hello, socketUrl } from './gateway_held_worker.ts'
import { ask, askRaw } from './gateway_http.ts'
import { parseMetrics } from './gateway_metrics.ts'

type Body = Uint8Array<ArrayBuffer> | string

const INFER = '/rpc/shoal.Inference/infer'
const MSGPACK = 'application/msgpack'
const JSON_TYPE = 'application/json'

/** Twenty nested arrays of 30 million entries each, and the same headers up to `bytes`. */
function bombOf(bytes: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: bytes }, (_, i) => [0xdd, 0x01, 0xc9, 0xc3, 0x80][i % 5] ?? 0)
}

/** {"model": <what `value` holds>} in msgpack. */
function modelIs(...value: number[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(0x81, 0xa5, ...new TextEncoder().encode('model'), ...value)
}

/**
 * What whoever means harm sends, and what it gets: by the numbers of the list that the gateway was built against. What has
 * a suite of its own (bodies, paths, keys, tokens, sockets) stands there.
 */
export function abuseCases(at: () => string): void {
  const send = (path: string, type: string, body: Body, headers: Record<string, string> = {}) =>
    ask(at(), 'POST', path, { body, headers: { 'content-type': type, ...headers } })
  const alive = async () => expect((await ask(at(), 'GET', '/livez')).status).toBe(200)

  /** Every face that decodes a body, by the form it takes it in. */
  const FACES: readonly [path: string, type: string][] = [
    [INFER, MSGPACK],
    [INFER, JSON_TYPE],
    ['/jobs', MSGPACK],
    ['/jobs', JSON_TYPE],
    ['/jobs', 'application/x-ndjson'],
    ['/v2/models/x/infer', JSON_TYPE],
    ['/registry/instances', JSON_TYPE],
  ]
  const refusedBy = async (form: 'msgpack' | 'json', body: Body) => {
    for (const [path, type] of FACES) {
      if ((type === MSGPACK) !== (form === 'msgpack')) continue
      const { status, text } = await send(path, type, body)
      expect([path, type, status, text]).toEqual([path, type, 400, expect.stringMatching(/Cannot /)])
    }
    await alive()
  }

  describe('1–7: messages', () => {
    it('1: declare 30 million entries in a few bytes', async () => {
      for (const bytes of [100, 10_000]) await refusedBy('msgpack', bombOf(bytes))
    })

    it('2: nest five million levels deep', async () => {
      await refusedBy('msgpack', new Uint8Array(5_000_000).fill(0x91))
      for (const length of [60_000, 5_000_000]) {
        const { status } = await send(INFER, JSON_TYPE, '['.repeat(length))
        expect([length, status]).toEqual([length, 400])
      }
      await refusedBy('json', '['.repeat(60_000))
    })

    it('3: are no UTF-8', async () => {
      await refusedBy('msgpack', modelIs(0xa2, 0xc3, 0x28))
      await refusedBy('json', Uint8Array.from([...new TextEncoder().encode('{"model":"'), 0xc3, 0x28, 0x22, 0x7d]))
    })

    it('4: have a key twice, of which two readers might take another one each', async () => {
      await refusedBy('msgpack', Uint8Array.of(0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2))
      for (const twice of ['{"model":"a","model":"b"}', '{"model":"a","m\\u006fdel":"b"}']) {
        await refusedBy('json', twice)
      }
      const push = await ask(at(), 'PUT', '/models/twice/versions/1', {
        body: identityModel('float32'),
        headers: { 'shoal-options': encodeURIComponent('{"visibility":"private","visibility":"public"}') },
      })
      expect(push.status).toBe(400)
    })

    it('5: reach for the prototype', async () => {
      for (const key of ['__proto__', 'constructor', 'prototype']) {
        const bytes = [0xa0 + key.length, ...new TextEncoder().encode(key)]
        await refusedBy('msgpack', modelIs(0x81, ...bytes, 0x80))
        await refusedBy('json', `{"model":"a","inputs":{"${key}":{}},"${key}":{"polluted":1}}`)
        const options = encodeURIComponent(
          `{"loop":{"maxSteps":1,"feed":{"${key}":"x"}},"${key}":{"visibility":"public"}}`,
        )
        const push = await ask(at(), 'PUT', '/models/polluted/versions/1', {
          body: identityModel('float32'),
          headers: { 'shoal-options': options },
        })
        expect([key, push.status]).toEqual([key, 400])
      }
      const { json } = await ask(at(), 'GET', '/workers')
      expect(json.polluted).toBeUndefined()
      await alive()
    })

    it('6: hold integers that no number is exact for', async () => {
      await refusedBy('msgpack', modelIs(0xcf, 255, 255, 255, 255, 255, 255, 255, 255))
      await refusedBy('json', '{"model":18446744073709551615}')
      const x = '{"name":"x","shape":[1,2],"datatype":"UINT64","data":[1,18446744073709551615]}'
      const { status } = await send('/v2/models/x/infer', JSON_TYPE, `{"inputs":[${x}]}`)
      expect([400, 404]).toContain(status)
    })

    it('7: are of a type that nobody has defined', async () => {
      for (const type of [0x00, 0x7f, 0xff]) await refusedBy('msgpack', modelIs(0xd4, type, 0))
    })
  })

  describe('8, 9: lengths', () => {
    it('8: lines without end cost no more than their bytes', async () => {
      const lines = (body: Body) => send('/jobs', 'application/x-ndjson', body)
      const empty = await lines('\n'.repeat(LIMITS.maxJsonBytes))
      expect([empty.status, empty.json.detail]).toEqual([400, expect.stringContaining('got 0')])
      const many = await lines('\n1'.repeat(LIMITS.maxJsonBytes / 2))
      expect([many.status, many.json.detail]).toEqual([400, expect.stringContaining(`got ${LIMITS.maxJsonBytes / 2}`)])
      // As many values in each as a message may have, none of which is a job.
      const wide = await lines(`[${'{},'.repeat(90_000)}{}]\n`.repeat(100))
      expect([wide.status, wide.json.detail]).toEqual([400, expect.stringMatching(/at 0, /)])
      await alive()
    })

    it('8: an envelope that promises 4 GB, is packed, or is not the only one', async () => {
      const good = sealEnvelope({ flags: 0, data: new TextEncoder().encode('{}') })
      const long = Uint8Array.from(good)
      long.fill(0xff, 1, 5)
      const packed = Uint8Array.from(good)
      packed[0] = 1
      for (const body of [long, packed, Uint8Array.of(...good, ...good), good.slice(0, 3), new Uint8Array()]) {
        for (const type of ['application/connect+json', 'application/connect+msgpack']) {
          const { status, text } = await send(INFER, type, body)
          // What is wrong with a stream's call is told at the stream's end, as Connect does.
          expect([status, text]).toEqual([expect.toBeOneOf([200, 400]), expect.stringContaining('invalid_argument')])
        }
      }
    })

    it('8: binary data that promise more than there is', async () => {
      for (const size of [2 ** 31, 2 ** 53, 1e308, -1, '16', null, {}]) {
        const x = { name: 'x', shape: [2, 2], datatype: 'FP32', parameters: { binary_data_size: size } }
        const text = JSON.stringify({ inputs: [x] })
        const { status } = await send('/v2/models/x/infer', 'application/octet-stream', text + '0123456789abcdef', {
          'inference-header-content-length': String(text.length),
        })
        expect([size, status]).toEqual([size, 400])
      }
      for (const length of ['-1', '0x10', '99999999999999999999', '1e9', ' ', '16, 16']) {
        const { status } = await send('/v2/models/x/infer', 'application/octet-stream', '{}', {
          'inference-header-content-length': length,
        })
        expect([length, status]).toEqual([length, 400])
      }
    })

    it('9: compressed bodies, where none are taken', async () => {
      for (const [path, type] of FACES) {
        if (path.startsWith('/v2/')) continue
        const { status } = await send(path, type, Uint8Array.of(31, 139, 8), { 'content-encoding': 'gzip' })
        expect([path, type, status]).toEqual([path, type, 415])
      }
    })
  })

  it('17: properties that nobody knows', async () => {
    const record = { id: 'a', service: 'demo.More', version: '1.0.0', url: 'http://127.0.0.1:1', incarnation: 'a' }
    const options = (more: object) => ({ 'shoal-options': encodeURIComponent(JSON.stringify(more)) })
    const answers = await Promise.all([
      ask(at(), 'POST', '/registry/instances', { json: { ...record, owner: 'me' } }),
      ask(at(), 'POST', '/jobs', { json: { service: 'demo.More', method: 'a', params: {}, owner: 'me' } }),
      ask(at(), 'POST', INFER, { json: { model: 'a', inputs: {}, caller: 'me' } }),
      ask(at(), 'PUT', '/models/more/aliases/a', { json: { version: '1', more: 1 } }),
      ask(at(), 'PUT', '/models/more/versions/1', {
        body: identityModel('float32'),
        headers: options({ sha256: 'a' }),
      }),
    ])
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 400, 400, 400])
  })

  it('22: results that nobody asked for are dropped and counted', async () => {
    const late = async () => {
      const { text } = await ask(at(), 'GET', '/metrics')
      return [...parseMetrics(text).get('shoal_relay_late_answers_total')?.samples.values() ?? []][0] ?? 0
    }
    const before = await late()
    const { token, connect } = await enrol(at())
    const socket = new WebSocket(socketUrl(at(), connect), SUBPROTOCOL)
    const write = (type: 'hello' | 'response', id: number, header: Record<string, unknown>) =>
      socket.send(encodeFrame({ type, id, header, parts: [] })[0] as Uint8Array<ArrayBuffer>)
    await new Promise((resolve) => socket.addEventListener('open', resolve))
    write('hello', 0, hello(token, 'liar'))
    const forged = { status: 'ok', value: { outputs: {}, timings: { loadMs: 0, waitMs: 0, runMs: 0 } } }
    for (let id = 1; id <= 8; id++) write('response', 1000 + id, forged)
    for (let id = 1; id <= 8; id++) write('response', 1000 + id, forged)
    await eventually(async () => await late() === before + 16)
    socket.close(1000, 'done')
  })

  describe('24: tensors', () => {
    const shapes = [[-1, 2], [2 ** 31, 2 ** 31], [2 ** 53, 1], [1.5, 2], [1, 3], new Array(64).fill(1), ['2'], 2, null]
    it('whose shape is not their bytes', async () => {
      for (const shape of shapes) {
        const tensor = { $tensor: 'float32', shape, data: [1, 2] }
        for (
          const [path, json] of [
            [INFER, { model: 'x', inputs: { x: tensor } }],
            ['/jobs', { model: 'x', inputs: { x: tensor } }],
            ['/v2/models/x/infer', { inputs: [{ name: 'x', datatype: 'FP32', shape, data: [1, 2] }] }],
          ] as const
        ) {
          const { status } = await ask(at(), 'POST', path, { json })
          expect([path, shape, status]).toEqual([path, shape, 400])
        }
      }
    })
  })

  it('25: addresses that a gateway must not be made to call', async () => {
    const hosts = [
      '169.254.169.254',
      '0xa9fea9fe',
      '2852039166',
      '0251.0376.0251.0376',
      '169.254.43518',
      '0',
      '0.0.0.0',
    ]
    const more = ['[::ffff:a9fe:a9fe]', '[::169.254.169.254]', '[64:ff9b::a9fe:a9fe]', '[fe80::1]', '[::]', '[ff02::1]']
    const named = [
      'metadata.google.internal',
      'metadata.google.internal.',
      'METADATA.goog',
      '169.254.169.254.',
      '１６９.254.169.254',
    ]
    for (const host of [...hosts, ...more, ...named]) {
      for (const url of [`http://${host}/latest`, `http://user:pw@${host}/`]) {
        const json = { id: 'ssrf', service: 'demo.Ssrf', version: '1.0.0', url, incarnation: 'a' }
        const { status } = await ask(at(), 'POST', '/registry/instances', { json })
        expect([url, status]).toEqual([url, 400])
      }
    }
    expect((await ask(at(), 'GET', '/registry/services/demo.Ssrf')).status).toBe(404)
  })

  it('31, 34: names become neither lines nor labels', async () => {
    const evil = 'x"} 1\nshoal_forged_total{a="b'
    const path = encodeURIComponent(evil)
    await Promise.all([
      ask(at(), 'POST', `/rpc/${path}/${path}`, { json: {} }),
      ask(at(), 'POST', `/v2/models/${path}/infer`, { json: { inputs: [] } }),
      ask(at(), 'POST', '/jobs', { json: { service: evil, method: evil, params: {} } }),
      ask(at(), 'GET', `/registry/services/${path}`),
    ])
    const seriesAt = async () => {
      const { text } = await ask(at(), 'GET', '/metrics')
      expect(text).not.toMatch(/forged|made\.Up/)
      return [...parseMetrics(text).values()].reduce((sum, { samples }) => sum + samples.size, 0)
    }
    const before = await seriesAt()
    await Promise.all(Array.from({ length: 40 }, (_, i) => ask(at(), 'POST', `/rpc/made.Up${i}/m${i}`, { json: {} })))
    // Other codes may be met for the first time meanwhile; forty names would show.
    expect(await seriesAt()).toBeLessThan(before + 10)
  })

  it('33: bundles that reach beyond themselves', async () => {
    const bytes = identityModel('float32')
    const sha256 = await sha256Hex(bytes)
    await ask(at(), 'PUT', `/blobs/${sha256}`, { body: bytes })
    const piece = { sha256, bytes: bytes.length }
    const file = (path: string, more: object = {}) => ({ path, bytes: bytes.length, pieces: [piece], ...more })
    const refused: Record<string, Uint8Array<ArrayBuffer>> = {
      'a path upwards': encodeBundle({ model: file('../m.onnx'), external: [] }),
      'an absolute path': encodeBundle({ model: file('m.onnx'), external: [file('/etc/passwd')] }),
      'a path with a back-slash': encodeBundle({ model: file('m.onnx'), external: [file('..\\w.bin')] }),
      'the same path twice': encodeBundle({ model: file('m.onnx'), external: [file('m.onnx')] }),
      'pieces that do not add up': encodeBundle({ model: file('m.onnx', { bytes: 1 }), external: [] }),
      'more than any model has': encodeBundle({
        model: file('m.onnx'),
        external: [file('w', { bytes: 2 ** 40, pieces: [{ sha256, bytes: 2 ** 40 }] })],
      }),
      'a hash that is a path': encodeBundle({
        model: file('m.onnx', { pieces: [{ sha256: '../../secret', bytes: bytes.length }] }),
        external: [],
      }),
    }
    for (const [what, body] of Object.entries(refused)) {
      const { status, json } = await ask(at(), 'PUT', '/models/reaching/versions/1', { body })
      expect([what, status, json.detail]).toEqual([what, 400, expect.stringMatching(/^Cannot read the bundle: /)])
    }
    expect((await ask(at(), 'GET', '/v2/models/reaching')).status).toBe(404)
    for (const id of ['..%2Fmodels%2Fx', `${sha256}%2F..`, sha256.toUpperCase(), `${sha256}0`]) {
      const { status } = await askRaw(at(), [`GET /blobs/${id} HTTP/1.1`])
      expect([id, status >= 400 && status < 500]).toEqual([id, true])
    }
  })
}
