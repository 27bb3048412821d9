import { beforeAll, expect, it } from 'vitest'
import { DTYPE_LIST, DTYPES } from '../../shared/wire/dtype.ts'
import { affine, affineModel, fixedModel, identityModel, pairModel } from '../fixtures/models.ts'
import { SAMPLES } from './gateway_dtypes.ts'
import { ask } from './gateway_http.ts'

const ONE = { weights: [[1, 2], [3, 4], [5, 6]], bias: [0.5, -0.5] }
const TWO = { weights: [[-1, 0], [0, 2], [1, 1]], bias: [10, 20] }
const ROWS = [[1, 2, 3], [-4, 5, 0.5]]

interface Input {
  name: string
  shape: readonly unknown[]
  datatype: string
  data: readonly unknown[]
}

export function openInferenceCases(at: () => string): void {
  const infer = (path: string, body: unknown) => ask(at(), 'POST', `/v2/models/${path}/infer`, { json: body })
  const x = (input: Partial<Input> = {}): Input => ({
    name: 'x',
    shape: [1, 3],
    datatype: 'FP32',
    data: [1, 2, 3],
    ...input,
  })

  beforeAll(async () => {
    const push = (path: string, body: BodyInit) => ask(at(), 'PUT', `/models/${path}`, { body })
    const pushed = await Promise.all([
      push('v2-affine/versions/1', affineModel(ONE)),
      push('v2-affine/versions/2', affineModel(TWO)),
      push('v2-fixed/versions/1', fixedModel()),
      push('v2-pair/versions/1', pairModel()),
      push('v2-scalar/versions/1', identityModel('float32', [])),
      ...DTYPE_LIST.map((dtype) => push(`v2-${dtype}/versions/1`, identityModel(dtype))),
    ])
    expect(pushed.map(({ status }) => status)).toEqual(pushed.map(() => 200))
  })

  it('runs a model of fixed shape', async () => {
    const { status, json } = await infer('v2-fixed', {
      id: 'call 7',
      inputs: [x({ shape: [2, 3], data: [1, -2, 3, 0.5, 7, 6] })],
    })
    expect(status).toBe(200)
    expect(json).toEqual({
      model_name: 'v2-fixed',
      model_version: '1',
      id: 'call 7',
      outputs: [{ name: 'y', datatype: 'FP32', shape: [2, 3], data: [-1, 2, -3, -0.5, -7, -6] }],
    })
  })

  it('runs a model of free shape, the newest version unless the path names one', async () => {
    for (const [path, weights] of [['v2-affine', TWO], ['v2-affine/versions/1', ONE]] as const) {
      for (const rows of [ROWS, ROWS.slice(1)]) {
        // Data may be flat or nested as the shape says.
        for (const data of [rows.flat(), rows]) {
          const { json } = await infer(path, { inputs: [x({ shape: [rows.length, 3], data })] })
          const [output] = json.outputs
          expect(output.shape).toEqual([rows.length, 2])
          expect(output.data).toEqual(rows.flatMap((row) => affine(weights, row)))
          expect(json.model_version).toBe(weights === ONE ? '1' : '2')
        }
      }
    }
  })

  it('gives the outputs asked for', async () => {
    const inputs = [x({ name: 'a', shape: [1, 2], data: [2, 3] }), x({ name: 'b', shape: [1, 2], data: [5, 7] })]
    const all = await infer('v2-pair', { inputs })
    const named = (json: { outputs: { name: string; data: number[] }[] }) =>
      Object.fromEntries(json.outputs.map(({ name, data }) => [name, data]))
    expect(named(all.json)).toEqual({ sum: [7, 10], product: [10, 21] })
    const one = await infer('v2-pair', { inputs, outputs: [{ name: 'product' }] })
    expect(named(one.json)).toEqual({ product: [10, 21] })
  })

  for (const dtype of DTYPE_LIST) {
    it(`carries ${dtype} as ${DTYPES[dtype].oip}`, async () => {
      const datatype = DTYPES[dtype].oip
      const { status, json } = await infer(`v2-${dtype}/versions/1`, {
        inputs: [{ name: 'x', shape: [2, 2], datatype, data: SAMPLES[dtype] }],
      })
      expect(json.outputs).toEqual([{ name: 'y', shape: [2, 2], datatype, data: SAMPLES[dtype] }])
      expect(status).toBe(200)
    })
  }

  it('carries scalars and tensors without elements', async () => {
    for (const [model, shape, data] of [['v2-scalar', [], [7]], ['v2-float32', [0, 2], []]] as const) {
      const { json } = await infer(model, { inputs: [x({ shape, data })] })
      expect(json.outputs).toEqual([{ name: 'y', datatype: 'FP32', shape, data }])
    }
  })

  const affineWith = (input: Partial<Input>) => ({ inputs: [x(input)] })
  const pairWith = (a: Partial<Input>, b: Partial<Input>) => ({
    inputs: [x({ name: 'a', shape: [1, 2], data: [1, 2], ...a }), x({ name: 'b', shape: [1, 2], data: [1, 2], ...b })],
  })
  const REFUSED: Record<string, [model: string, body: unknown, message: RegExp]> = {
    'no inputs at all': ['v2-affine', {}, /"inputs"/],
    'an empty list of inputs': ['v2-affine', { inputs: [] }, /inputs must be "x", got none/],
    'a missing input': ['v2-pair', { inputs: pairWith({}, {}).inputs.slice(1) }, /must be "a", "b", got "b"/],
    'an input of another name': ['v2-affine', affineWith({ name: 'z' }), /inputs must be "x", got "z"/],
    'an input named __proto__': ['v2-affine', affineWith({ name: '__proto__' }), /inputs must be "x", got "__proto__"/],
    'an input given twice': ['v2-affine', { inputs: [x(), x()] }, /"x" is given twice/],
    'another dtype': ['v2-affine', affineWith({ datatype: 'INT32' }), /"x" must have dtype float32, got int32/],
    'an unknown datatype': [
      'v2-affine',
      affineWith({ datatype: 'FP33' }),
      /"x": datatype must be one of BOOL, .*"FP33"/,
    ],
    'another rank': ['v2-affine', affineWith({ shape: [3] }), /"x" must have shape \[-1, 3\], got \[3\]/],
    'another fixed size': [
      'v2-affine',
      affineWith({ shape: [1, 4], data: [1, 2, 3, 4] }),
      /shape \[-1, 3\], got \[1, 4\]/,
    ],
    'one name, two sizes': [
      'v2-pair',
      pairWith({}, { shape: [2, 2], data: [1, 2, 3, 4] }),
      /"b" \("N"\) must be 1 .*got 2/,
    ],
    'too little data': ['v2-affine', affineWith({ data: [1, 2] }), /"x": shape \[1,3\] must have 3 elements, got 2/],
    'too much data': [
      'v2-affine',
      affineWith({ data: [1, 2, 3, 4] }),
      /"x": shape \[1,3\] must have 3 elements, got 4/,
    ],
    'ragged data': ['v2-affine', affineWith({ shape: [2, 3], data: [[1, 2, 3], [4, 5]] }), /"x": /],
    'a negative size': ['v2-affine', affineWith({ shape: [-1, 3] }), /"x": each size must be a whole number.*-1/],
    'a fractional size': ['v2-affine', affineWith({ shape: [1.5, 2] }), /"x": each size must be a whole number.*1\.5/],
    'a shape that overflows': ['v2-affine', affineWith({ shape: [2 ** 52, 2 ** 52], data: [] }), /"x": .*2\^53/],
    'a size that is no number': ['v2-affine', affineWith({ shape: ['1', 3] }), /shape/],
    'data that is no list': ['v2-affine', { inputs: [{ ...x(), data: 3 }] }, /data/],
    'an element of another type': ['v2-affine', affineWith({ data: [1, 'two', 3] }), /"x": element 1 must be .*"two"/],
    'a null': ['v2-affine', affineWith({ data: [1, null, 3] }), /"x": element 1 must be .*null/],
    'a number that overflows': [
      'v2-int8',
      affineWith({ shape: [1, 2], datatype: 'INT8', data: [1, 128] }),
      /element 1 .*128/,
    ],
    'a fraction for an integer': [
      'v2-int32',
      affineWith({ shape: [1, 2], datatype: 'INT32', data: [1, 0.5] }),
      /element 1 .*0\.5/,
    ],
    'an output it has not': [
      'v2-affine',
      { ...affineWith({}), outputs: [{ name: 'q' }] },
      /outputs must be among y, got "q"/,
    ],
  }
  for (const [what, [model, body, message]] of Object.entries(REFUSED)) {
    it(`refuses ${what} and says what was expected`, async () => {
      const { status, json } = await infer(model, body)
      expect(json).toEqual({ error: expect.stringMatching(message) })
      expect(status).toBe(400)
    })
  }

  it('refuses what is not JSON, and integers that JSON has rounded', async () => {
    for (
      const [body, message] of [
        ['{"inputs":', /expected JSON/],
        ['', /expected JSON/],
        ['"text"', /expected object/],
        ['[1]', /expected object/],
        [JSON.stringify({ inputs: [x()], constructor: {} }), /"constructor" is not accepted/],
        [
          '{"inputs":[{"name":"x","shape":[1],"datatype":"INT64","data":[9007199254740993]}]}',
          /element 0|9007199254740993/,
        ],
      ] as const
    ) {
      const { status, json } = await ask(at(), 'POST', '/v2/models/v2-affine/infer', { body })
      expect(json).toEqual({ error: expect.stringMatching(message) })
      expect(status).toBe(400)
    }
  })

  it('answers 404 for a model or version that was never pushed, and says which', async () => {
    for (const [method, end] of [['POST', '/infer'], ['GET', ''], ['GET', '/ready']] as const) {
      const options = method === 'POST' ? { json: { inputs: [x()] } } : {}
      const model = await ask(at(), method, `/v2/models/v2-nothing${end}`, options)
      expect([model.status, model.json]).toEqual([404, { error: expect.stringContaining('"v2-nothing"') }])
      const version = await ask(at(), method, `/v2/models/v2-affine/versions/9${end}`, options)
      expect([version.status, version.json]).toEqual([404, { error: expect.stringMatching(/version 9.*newest is 2/) }])
    }
  })

  it('describes a model', async () => {
    const { status, json } = await ask(at(), 'GET', '/v2/models/v2-affine')
    expect(json).toEqual({
      name: 'v2-affine',
      versions: ['1', '2'],
      platform: 'onnx_onnxv1',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 3] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
    })
    expect(status).toBe(200)
    expect((await ask(at(), 'GET', '/v2/models/v2-affine/versions/1')).json.inputs).toEqual(json.inputs)
  })

  it('says that it is live and ready', async () => {
    expect((await ask(at(), 'GET', '/v2/health/live')).json).toEqual({ live: true })
    const ready = await ask(at(), 'GET', '/v2/health/ready')
    expect([ready.status, ready.json]).toEqual([200, { ready: true }])
    for (const path of ['/v2/models/v2-affine/ready', '/v2/models/v2-affine/versions/1/ready']) {
      const { status, json } = await ask(at(), 'GET', path)
      expect([status, json]).toEqual([200, { name: 'v2-affine', ready: true }])
    }
    expect((await ask(at(), 'GET', '/v2')).json).toMatchObject({
      name: 'shoal',
      extensions: ['binary_tensor_data', 'parameters', 'classification'],
    })
  })

  it('answers what it does not know in its own error shape', async () => {
    for (const [method, path] of [['GET', '/v2/nothing'], ['POST', '/v2/models/v2-affine/nothing']] as const) {
      const { status, json } = await ask(at(), method, path)
      expect([status, json]).toEqual([404, { error: expect.stringContaining(path) }])
    }
  })

  it('tells which worker answered, and where the time went', async () => {
    const { headers } = await infer('v2-affine', affineWith({}))
    expect(headers.get('shoal-worker')).toMatch(/^w_[0-9a-f]{32}$/)
    expect(headers.get('shoal-device')).toBe('wasm')
    expect(headers.get('server-timing')).toMatch(/queue;dur=[\d.]+.*run;dur=[\d.]+/)
  })
}
