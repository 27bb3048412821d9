import { beforeAll, describe, expect, it } from 'vitest'
import type { Metadata } from '../../shared/rpc/send.ts'
import { DTYPE_LIST } from '../../shared/wire/dtype.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { identityModel, pairModel } from '../fixtures/models.ts'
import { refusal } from './expectations.ts'
import { sampleTensor } from './gateway_dtypes.ts'
import { ask, inferenceAt } from './gateway_http.ts'

const INFER = '/rpc/shoal.Inference/infer'

export function rpcCases(at: () => string): void {
  const post = (headers: Record<string, string>, body: BodyInit, path = INFER) =>
    ask(at(), 'POST', path, { headers: { 'content-type': 'application/json', ...headers }, body })
  const good = () => JSON.stringify({ model: 'rpc-int64', inputs: { x: sampleTensor('int64') } })

  beforeAll(async () => {
    const push = (name: string, body: BodyInit) => ask(at(), 'PUT', `/models/${name}/versions/1`, { body })
    await Promise.all([
      push('rpc-pair', pairModel()),
      ...DTYPE_LIST.map((dtype) => push(`rpc-${dtype}`, identityModel(dtype))),
    ])
  })

  for (const codec of ['json', 'msgpack'] as const) {
    describe(codec, () => {
      for (const dtype of DTYPE_LIST) {
        it(`carries ${dtype}`, async () => {
          const input = sampleTensor(dtype)
          const { model, version, outputs } = await inferenceAt(at(), { codec }).infer({
            model: `rpc-${dtype}`,
            inputs: { x: input },
          })
          expect({ model, version }).toEqual({ model: `rpc-${dtype}`, version: '1' })
          expect(outputs.y?.dtype).toBe(dtype)
          expect(outputs.y?.shape).toEqual([2, 2])
          expect(outputs.y?.data).toEqual(input.data)
        })
      }

      it('carries errors with their code and words', async () => {
        const client = inferenceAt(at(), { codec })
        const x = Tensor.from('float32', [1, 2], [1, 2])
        for (
          const [input, code, message] of [
            [{ model: 'rpc-nothing', inputs: { x } }, 'not_found', /"rpc-nothing"/],
            [{ model: 'rpc-float32', version: '7', inputs: { x } }, 'not_found', /version 7/],
            [{ model: 'rpc-float32', inputs: {} }, 'invalid_argument', /inputs must be "x", got none/],
            [{ model: 'rpc-float64', inputs: { x } }, 'invalid_argument', /dtype float64, got float32/],
            [{ model: 'rpc-float32', inputs: { x }, outputs: ['z'] }, 'invalid_argument', /among y, got "z"/],
            [{ model: '../x', inputs: { x } }, 'invalid_argument', /its name must be/],
          ] as const
        ) {
          const error = await refusal(
            client.infer({ ...input, outputs: input.outputs ? [...input.outputs] : undefined }),
          )
          expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)])
        }
      })
    })
  }

  it('gives the outputs asked for, whichever priority the call has', async () => {
    const input = Tensor.from('float32', [1, 2], [2, 3])
    for (const priority of ['high', 'normal'] as const) {
      const { outputs } = await inferenceAt(at()).infer({
        model: 'rpc-pair',
        version: '1',
        inputs: { a: input, b: input },
        outputs: ['product'],
        priority,
      })
      expect(Object.keys(outputs)).toEqual(['product'])
      expect(outputs.product?.data).toEqual(Float32Array.of(4, 9))
    }
  })

  it('tells which worker answered, on what, at which attempt and where the time went', async () => {
    let metadata: Metadata = {}
    await inferenceAt(at()).infer({ model: 'rpc-int8', inputs: { x: sampleTensor('int8') } }, {
      onMetadata: (got) => metadata = got,
    })
    expect(metadata).toMatchObject({
      'shoal-worker': expect.stringMatching(/^w_[0-9a-f]{32}$/),
      'shoal-device': 'wasm',
      'shoal-attempts': '1',
      'server-timing': expect.stringMatching(/^queue;dur=[\d.]+, load;dur=.*, wait;dur=.*, run;dur=.*, wire;dur=/),
    })
  })

  it('answers errors as Connect does', async () => {
    const { status, headers, json } = await post({}, JSON.stringify({ model: 'rpc-int64', inputs: {}, more: 1 }))
    expect(status).toBe(400)
    expect(headers.get('content-type')).toBe('application/json')
    expect(json).toEqual({
      code: 'invalid_argument',
      message: expect.stringMatching(/the input of shoal\.Inference\/infer: .*"more"/),
      details: expect.any(Array),
    })
  })

  const MALFORMED: Record<string, [headers: Record<string, string>, body: () => BodyInit, message: RegExp]> = {
    'a body that is no JSON': [{}, () => '{', /expected JSON/],
    'an empty body': [{}, () => '', /expected JSON/],
    'invalid UTF-8': [{}, () => Uint8Array.of(0x22, 0xff, 0x22), /UTF-8|expected JSON/],
    'deep nesting': [{}, () => '['.repeat(1000) + ']'.repeat(1000), /nesting/],
    'a body that is no msgpack': [{ 'content-type': 'application/msgpack' }, () => Uint8Array.of(0xc1), /decode/i],
    'a key that reaches the prototype': [{}, () => '{"model":"a","inputs":{"constructor":{}}}', /"constructor"/],
    'a time-out of 0': [{ 'connect-timeout-ms': '0' }, good, /connect-timeout-ms must be .*"0"/],
    'a time-out that is no number': [{ 'connect-timeout-ms': '1s' }, good, /connect-timeout-ms must be .*"1s"/],
    'a time-out of 11 digits': [{ 'connect-timeout-ms': '10000000000' }, good, /connect-timeout-ms must be/],
    'a version that is no range': [
      { 'shoal-version': 'newest' },
      good,
      /shoal-version must be a semver range.*"newest"/,
    ],
  }
  for (const [what, [headers, body, message]] of Object.entries(MALFORMED)) {
    it(`refuses ${what}`, async () => {
      const { status, json } = await post(headers, body())
      expect(json).toMatchObject({ code: 'invalid_argument', message: expect.stringMatching(message) })
      expect(status).toBe(400)
    })
  }

  it('survives messages that declare a gigabyte or nest without end', async () => {
    const bomb = Uint8Array.from({ length: 100 }, (_, i) => i % 5 === 0 ? 0xdd : i % 5 === 1 ? 0x01 : 0xff)
    const { status, json } = await post({ 'content-type': 'application/msgpack' }, bomb)
    expect([status, json.code]).toEqual([400, 'invalid_argument'])
    const deep = await post({ 'content-type': 'application/msgpack' }, new Uint8Array(1e6).fill(0x91))
    expect([deep.status, deep.json.code]).toEqual([400, 'invalid_argument'])
  })

  it('takes a generous time-out', async () => {
    expect((await post({ 'connect-timeout-ms': '9999999999' }, good())).status).toBe(200)
  })

  it('answers 415 for a codec or an encoding that it has not', async () => {
    for (const type of ['text/plain', 'application/proto', 'application/grpc']) {
      const { status, json } = await post({ 'content-type': type }, good())
      expect([status, json.code]).toEqual([415, 'unimplemented'])
      expect(json.message).toContain(type)
    }
    expect((await post({ 'content-encoding': 'gzip' }, good())).status).toBe(415)
    expect((await post({ 'content-type': 'application/json; charset=utf-8' }, good())).status).toBe(200)
  })

  it('answers 405 for any method but POST, and names that one', async () => {
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const { status, headers, json } = await ask(at(), method, INFER)
      expect([status, json.code, headers.get('allow')]).toEqual([405, 'unimplemented', 'POST'])
    }
  })

  it('keeps the services between its own parts to itself', async () => {
    for (
      const path of [
        '/rpc/shoal.Pool/run',
        '/rpc/shoal.Pool/workers',
        '/rpc/shoal.Worker/run',
        '/rpc/shoal.Training/reduce',
      ]
    ) {
      const { status, json } = await ask(at(), 'POST', path, { json: {} })
      expect([path, status, json.code]).toEqual([path, 403, 'permission_denied'])
    }
  })

  it('answers 404 for a service that is not registered and 501 for a method that it has not', async () => {
    const service = await post({}, '{}', '/rpc/demo.Nothing/sayHello')
    expect([service.status, service.json.code]).toEqual([404, 'not_found'])
    expect(service.json.message).toContain('demo.Nothing')
    const method = await post({}, '{}', '/rpc/shoal.Inference/train')
    expect([method.status, method.json.code]).toEqual([501, 'unimplemented'])
    expect(method.json.message).toMatch(/shoal\.Inference\/train: expected one of infer/)
    const neither = await post({}, '{}', '/rpc/demo')
    expect([neither.status, neither.json.code]).toEqual([404, 'not_found'])
  })

  it('answers whoever asks for the version it has, and nobody else', async () => {
    expect((await post({ 'shoal-version': '^1.0.0' }, good())).status).toBe(200)
    const { status, json } = await post({ 'shoal-version': '^2.0.0' }, good())
    expect([status, json.code]).toEqual([400, 'failed_precondition'])
    expect(json.message).toMatch(/\^2\.0\.0 .* 1\.0\.0/)
  })
}
