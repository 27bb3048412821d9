import { gzipSync } from 'node:zlib'
import { beforeAll, describe, expect, it } from 'vitest'
import { LIMITS } from '../../shared/base/limits.ts'
import { DTYPE_LIST, DTYPES } from '../../shared/wire/dtype.ts'
import { identityModel, pairModel, transposeModel } from '../fixtures/models.ts'
import { replay } from '../interop/replay.ts'
import { pushTritonModels } from '../interop/triton_models.ts'
import { TRITON_RECORDS } from '../interop/triton_wire.ts'
import { sampleTensor } from './gateway_dtypes.ts'
import { ask } from './gateway_http.ts'

/** Triton's extensions of the Open Inference Protocol: binary tensor data above all. */
export function binaryCases(at: () => string, { packs }: { packs: boolean }): void {
  beforeAll(async () => {
    const push = (path: string, body: BodyInit) => ask(at(), 'PUT', `/models/${path}/versions/1`, { body })
    const pushed = await Promise.all([
      push('bin-pair', pairModel()),
      push('bin-wide', identityModel('float32', [1, 'width'])),
      push('bin-free', transposeModel()),
      ...DTYPE_LIST.map((dtype) => push(`bin-${dtype}`, identityModel(dtype))),
    ])
    expect(pushed.map(({ status }) => status)).toEqual(pushed.map(() => 200))
    await pushTritonModels(at())
  })

  /** JSON and what follows it, in one body. */
  const send = async (
    model: string,
    message: unknown,
    raw: Uint8Array,
    more: Record<string, string> = {},
    pack: (body: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> = (body) => body,
  ) => {
    const json = message === undefined ? '' : JSON.stringify(message)
    const response = await fetch(`${at()}/v2/models/${model}/infer`, {
      method: 'POST',
      headers: { 'inference-header-content-length': String(Buffer.byteLength(json)), ...more },
      body: pack(Uint8Array.from(Buffer.concat([Buffer.from(json), raw]))),
    })
    const body = Buffer.from(await response.arrayBuffer())
    const length = Number(response.headers.get('inference-header-content-length') ?? body.length)
    return {
      status: response.status,
      headers: response.headers,
      length,
      json: JSON.parse(body.toString('utf8', 0, length)),
      raw: body.subarray(length),
    }
  }
  const input = (name: string, shape: number[], size: number, datatype = 'FP32') => ({
    name,
    shape,
    datatype,
    parameters: { binary_data_size: size },
  })
  const parameters = { binary_data_output: true }

  for (const dtype of DTYPE_LIST) {
    it(`carries ${dtype} as raw data`, async () => {
      const { bytes } = sampleTensor(dtype)
      const datatype = DTYPES[dtype].oip
      // Names of any length: what follows the JSON is seldom aligned.
      for (const id of ['', '1', '22', '333']) {
        const message = { id, inputs: [input('x', [2, 2], bytes.byteLength, datatype)], parameters }
        const { status, json, raw, length } = await send(`bin-${dtype}`, message, bytes)
        expect([status, json.id]).toEqual([200, id])
        expect(json.outputs).toEqual([
          { name: 'y', datatype, shape: [2, 2], parameters: { binary_data_size: bytes.byteLength } },
        ])
        expect(raw).toEqual(Buffer.from(bytes))
        // So that whoever reads it need not copy.
        expect(length % 8).toBe(0)
      }
    })
  }

  it('carries what is too large for one piece', async () => {
    const values = Float32Array.from({ length: 1 << 20 }, (_, i) => i)
    const bytes = new Uint8Array(values.buffer)
    const message = { inputs: [input('x', [1, values.length], bytes.byteLength)], parameters }
    const { status, json, raw } = await send('bin-wide', message, bytes)
    expect([status, json.outputs[0].shape]).toEqual([200, [1, values.length]])
    expect(raw.equals(bytes)).toBe(true)
  })

  it('carries tensors without elements', async () => {
    const { json, raw } = await send('bin-float32', { inputs: [input('x', [0, 2], 0)], parameters }, new Uint8Array())
    expect(json.outputs).toEqual([{ name: 'y', datatype: 'FP32', shape: [0, 2], parameters: { binary_data_size: 0 } }])
    expect(raw.length).toBe(0)
  })

  it('takes a body that is one tensor and nothing else', async () => {
    const { bytes } = sampleTensor('float32')
    const one = bytes.slice(0, 8)
    const { status, json, raw } = await send('bin-float32', undefined, one)
    expect([status, json.outputs[0].shape]).toEqual([200, [1, 2]])
    expect(raw).toEqual(Buffer.from(one))
    const wide = await send('bin-wide', undefined, bytes)
    expect([wide.json.outputs[0].shape, wide.raw]).toEqual([[1, 4], Buffer.from(bytes)])
    for (
      const [model, message] of [
        ['bin-pair', /must have one input, got 2/],
        ['bin-string', /fixed size, got BYTES/],
        ['bin-free', /must have one free dimension/],
        ['bin-float32', /\[1,2\] must have 8 bytes, got 16/],
      ] as const
    ) {
      const refused = await send(model, undefined, bytes)
      expect([refused.status, refused.json]).toEqual([400, { error: expect.stringMatching(message) }])
    }
  })

  const floats = new Uint8Array(16)
  const x = input('x', [2, 2], 16)
  const REFUSED: Record<string, [message: unknown, raw: Uint8Array, error: RegExp, headers?: Record<string, string>]> =
    {
      'more raw data than inputs': [{ inputs: [x] }, new Uint8Array(17), /add up to the 17 bytes.*got 16/],
      'less raw data than inputs': [
        { inputs: [x] },
        new Uint8Array(15),
        /"x": binary_data_size must be at most the 15/,
      ],
      'raw data of another length than the shape': [
        { inputs: [input('x', [2, 2], 12)] },
        new Uint8Array(12),
        /"x": .*must have 16 bytes, got 12/,
      ],
      'data given twice': [{ inputs: [{ ...x, data: [1, 2, 3, 4] }] }, floats, /"x": .*got both/],
      'data given nowhere': [{ inputs: [{ ...x, parameters: {} }] }, new Uint8Array(), /"x": .*got neither/],
      'a size below zero': [{ inputs: [input('x', [2, 2], -16)] }, floats, /binary_data_size/],
      'a size that is no whole number': [{ inputs: [input('x', [2, 2], 1.5)] }, floats, /binary_data_size/],
      'shared memory': [
        { inputs: [{ ...x, parameters: { shared_memory_region: 'r' } }] },
        new Uint8Array(),
        /shared memory is not supported/,
      ],
      'a time-out that is no number': [{ inputs: [x], parameters: { timeout: 'soon' } }, floats, /timeout/],
      'a header longer than the body': [{ inputs: [x] }, floats, /from 0 to the/, {
        'inference-header-content-length': '9999',
      }],
      'a header length that is no number': [{ inputs: [x] }, floats, /Inference-Header-Content-Length/, {
        'inference-header-content-length': '1e1',
      }],
      'a header that ends within the JSON': [{ inputs: [x] }, floats, /expected JSON/, {
        'inference-header-content-length': '7',
      }],
      'texts whose lengths run past their end': [
        { inputs: [input('x', [1, 2], 8, 'BYTES')] },
        Uint8Array.of(255, 255, 255, 255, 1, 0, 0, 0),
        /"x": a length runs past the end/,
      ],
      'a body that is not packed as it says': [{ inputs: [x] }, floats, /must be gzip/, { 'content-encoding': 'gzip' }],
    }
  for (const [what, [message, raw, error, headers]] of Object.entries(REFUSED)) {
    it(`refuses ${what}`, async () => {
      const model = what.startsWith('texts') ? 'bin-string' : 'bin-float32'
      const { status, json } = await send(model, message, raw, headers)
      expect(json).toEqual({ error: expect.stringMatching(error) })
      expect(status).toBe(400)
    })
  }

  it('unpacks bodies, but never without end', async () => {
    const pack = (body: Uint8Array) => Uint8Array.from(gzipSync(body))
    const gzip = { 'content-encoding': 'gzip' }
    const { bytes } = sampleTensor('float32')
    const packed = await send('bin-float32', { inputs: [x], parameters }, bytes, gzip, pack)
    expect([packed.status, packed.raw]).toEqual([200, Buffer.from(bytes)])
    const bomb = await send('bin-float32', { inputs: [x] }, new Uint8Array(LIMITS.maxMessageBytes), gzip, pack)
    expect([bomb.status, bomb.json]).toEqual([413, { error: expect.stringMatching(/unpacked, its body/) }])
    for (const coding of ['br', 'gzip, gzip']) {
      const { status } = await send('bin-float32', { inputs: [x] }, floats, { 'content-encoding': coding })
      expect([coding, status]).toEqual([coding, 415])
    }
  })

  it('lists its models as Triton does', async () => {
    const { status, json } = await ask(at(), 'POST', '/v2/repository/index')
    expect(status).toBe(200)
    expect(json).toContainEqual({ name: 'bin-pair', version: '1', state: 'READY', reason: '' })
  })

  describe("what Triton's client sends", () => {
    for (const [what, { request, message, raw, encoding }] of Object.entries(TRITON_RECORDS)) {
      it(what, async () => {
        const { status, headers, body } = await replay(at(), request)
        const length = headers.get('inference-header-content-length')
        expect(status).toBe(200)
        expect(headers.get('content-encoding')).toBe(packs && encoding ? encoding : null)
        expect(length === null).toBe(raw === undefined)
        const end = Number(length ?? body.length)
        expect(JSON.parse(body.toString('utf8', 0, end))).toEqual(message)
        expect(body.toString('latin1', end)).toBe(raw ?? '')
      })
    }
  })
}
