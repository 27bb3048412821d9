import { assert } from 'chai'
import { sha256Hex } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Engine } from '../../shared/engine/engine.ts'
import { node, tensorInfo } from '../../shared/models/onnx.ts'
import { type DType, DTYPE_LIST } from '../../shared/wire/dtype.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import type { Suite } from '../suite.ts'
import { affine, externalAffineModel, identityModel, modelOf } from '../fixtures/models.ts'
import { convolution, network, oneNode } from './engine_models.ts'
import { randomTensor, referenceConvolution, referenceNetwork, WEIGHTS } from './engine_reference.ts'

/** What every Engine must do, wherever it runs. The cases share one engine, which the last of them closes. */
export function engineSuite(name: string, open: () => Promise<Engine>): Suite {
  let opening: Promise<Engine> | undefined
  const withEngine = (run: (engine: Engine) => Promise<void>) => async () => await run(await (opening ??= open()))
  const cases = { ...dtypeCases(), ...CASES, 'after close every call answers unavailable': closeCase }
  return { name, cases: Object.fromEntries(Object.entries(cases).map(([name, run]) => [name, withEngine(run)])) }
}

type Case = (engine: Engine) => Promise<void>

const CASES: Record<string, Case> = {
  'tells what it computes on': ({ info }) => {
    assert.include(['webgpu', 'wasm', 'cpu'], info.device)
    assert.include(['jspi', 'asyncify', 'wasm', 'native'], info.build)
    assert.isNotEmpty(info.adapter)
    assert.match(info.reason, /^[^.]+\.$/, 'one sentence')
    return Promise.resolve()
  },

  'numbers agree with float64': (engine) =>
    withModel(engine, network(WEIGHTS), async (key, loaded) => {
      assert.deepEqual(loaded, { placement: 'full' })
      for (const batch of [1, 3, 8]) {
        const x = randomTensor([batch, 16], batch)
        const { outputs, timings } = await engine.run(key, { x })
        assert.deepEqual(outputs.y?.shape, [batch, 5])
        assertClose(outputs.y, referenceNetwork(x))
        assert.isAtLeast(timings.waitMs, 0)
        assert.isAtLeast(timings.runMs, 0)
      }
    }),

  'weights may lie in files of their own': async (engine) => {
    // onnxruntime-node reads such files from a disk alone.
    if (engine.info.build === 'native') return
    const affineOf = { weights: [[1, 2], [3, 4], [5, 6]], bias: [0.5, -0.5] }
    const { model, data } = externalAffineModel(affineOf)
    const key = await sha256Hex(data)
    await engine.load(key, model, { external: [{ path: 'weights.bin', data }] })
    try {
      const { outputs } = await engine.run(key, { x: Tensor.from('float32', [1, 3], [1, 2, 3]) })
      assert.deepEqual([...outputs.y?.data as Float32Array], affine(affineOf, [1, 2, 3]))
    } finally {
      await engine.unload(key)
    }
  },

  'convolutions that WebGPU is known to get wrong are right all the same': async (engine) => {
    const shapes = [[4, 6, 1], [8, 9, 1], [12, 2, 2], [4, 4, 1]] as const
    for (const [outputs, each, group] of shapes) {
      const weights = randomTensor([outputs, each, 3, 3], outputs)
      await withModel(engine, convolution(weights, group), async (key) => {
        for (const batch of [1, 2]) {
          const x = randomTensor([batch, each * group, 5, 5], batch)
          const { outputs: { y } } = await engine.run(key, { x })
          assertClose(y, referenceConvolution(x, weights, group))
        }
      })
    }
  },

  'free dimensions take any size, fixed ones only theirs': (engine) =>
    withModel(engine, identityModel('float32', ['N', 2, '']), async (key) => {
      for (const shape of [[1, 2, 1], [5, 2, 3], [0, 2, 4], [2, 2, 0]]) {
        const x = randomTensor(shape, 1)
        const { outputs } = await engine.run(key, { x })
        assertSame(outputs.y, x)
      }
      for (const shape of [[1, 3, 1], [1, 2], [2], []]) {
        await rejects(engine.run(key, { x: randomTensor(shape, 1) }), 'invalid_argument', /input "x" must be float32 /)
      }
    }),

  'float16 is computed with, on WASM where the device has none': async (engine) => {
    const add = oneNode('Add', [['x', 'float16', [2]], ['by', 'float16', [2]]], ['float16', [2]])
    const [x, by] = [Tensor.from('float16', [2], [1.5, -2]), Tensor.from('float16', [2], [0.25, 2 ** -10])]
    const { placement, warning } = await engine.load('float16', add)
    assert.equal(placement, engine.info.fp16 ? 'full' : 'refused')
    if (!engine.info.fp16) assert.match(warning ?? '', /it runs on WASM, because/)
    assertSame((await engine.run('float16', { x, by })).outputs.y, Tensor.from('float16', [2], [1.75, -2 + 2 ** -10]))
    await engine.unload('float16')
  },

  'a scalar goes through': (engine) =>
    withModel(engine, identityModel('float32', []), async (key) => {
      const x = Tensor.from('float32', [], [0.5])
      assertSame((await engine.run(key, { x })).outputs.y, x)
    }),

  'a model without inputs gives its constant': (engine) => {
    const weights = { w: Tensor.from('float32', [2], [1, 2]) }
    return withModel(engine, oneNode('Identity', [], ['float32', [2]], weights), async (key) => {
      assertSame((await engine.run(key, {})).outputs.y, weights.w)
    })
  },

  'wrong inputs are refused by name': (engine) =>
    withModel(
      engine,
      oneNode('Add', [['a', 'float32', [2]], ['b', 'float32', [2]]], ['float32', [2]]),
      async (key) => {
        const a = Tensor.from('float32', [2], [1, 2])
        const refused = (inputs: Record<string, Tensor>, message: RegExp) =>
          rejects(engine.run(key, inputs), 'invalid_argument', message)
        await refused({ a }, /input "b" must be float32 \[2\], got nothing/)
        await refused({ a, b: a, c: a }, /inputs are "a", "b", got also "c"/)
        await refused({ a, b: Tensor.from('int32', [2], [1, 2]) }, /input "b" must be float32 \[2\], got int32 \[2\]/)
        await refused({ a, b: Tensor.from('float32', [3], [1, 2, 3]) }, /input "b" .* got float32 \[3\]/)
        assert.deepEqual([...(await engine.run(key, { a, b: a })).outputs.y?.data as Float32Array], [2, 4])
      },
    ),

  'bytes that are no bool and text that the runtime would cut are refused': async (engine) => {
    await withModel(engine, identityModel('bool', [2]), async (key) => {
      const x = new Tensor('bool', [2], new Uint8Array([0, 2]))
      await rejects(engine.run(key, { x }), 'invalid_argument', /input "x" must hold 0 or 1/)
    })
    await withModel(engine, identityModel('string', [1]), async (key) => {
      const x = Tensor.from('string', [1], ['a\0b'])
      await rejects(engine.run(key, { x }), 'invalid_argument', /input "x" must hold no NUL/)
    })
  },

  'values that a model cannot take are the caller’s fault, and the next call works': (engine) =>
    withModel(
      engine,
      oneNode('Gather', [['x', 'string', [2]], ['at', 'int64', [1]]], ['string', [1]]),
      async (key) => {
        const x = Tensor.from('string', [2], ['first', 'second'])
        const at = (index: number) => Tensor.from('int64', [1], [index])
        await rejects(engine.run(key, { x, at: at(7) }), 'invalid_argument', /out of data bounds/)
        assert.deepEqual((await engine.run(key, { x, at: at(1) })).outputs.y?.data as string[], ['second'])
      },
    ),

  'a call that fails half-way leaves nothing locked': (engine) =>
    withModel(
      engine,
      oneNode('Reshape', [['x', 'float32', ['N']], ['to', 'int64', [1]]], ['float32', ['']]),
      async (key) => {
        const x = randomTensor([6], 1)
        const to = (size: number) => Tensor.from('int64', [1], [size])
        for (let round = 0; round < 3; round++) {
          // The second call is already waiting when the first fails.
          const [failed, served] = [engine.run(key, { x, to: to(5) }), engine.run(key, { x, to: to(6) })]
          await rejects(failed, 'internal', /cannot be reshaped/)
          assertSame((await served).outputs.y, x)
        }
      },
    ),

  'what is no model is refused with a reason in one line': async (engine) => {
    const whole = identityModel('float32', [2])
    const garbage: Record<string, Uint8Array> = {
      nothing: new Uint8Array(0),
      text: new TextEncoder().encode('{"not": "a model"}'),
      noise: Uint8Array.from({ length: 500 }, (_, i) => (i * 197) % 256),
      'a cut model': whole.subarray(0, whole.length / 2),
      'an unknown operator': oneNode('NoSuchOperator', [['x', 'float32', [2]]], ['float32', [2]]),
      'an input that is nowhere': modelOf({
        node: [node('Identity', ['nowhere'], ['y'])],
        output: [tensorInfo('y', 'float32', [2])],
      }),
    }
    for (const [what, bytes] of Object.entries(garbage)) {
      const key = await sha256Hex(bytes)
      await rejects(engine.load(key, bytes), 'invalid_argument', /^Cannot load the model: .{10,}$/, what)
      await rejects(engine.run(key, {}), 'not_found', /must be loaded/, what)
    }
  },

  'a model whose output is no tensor is refused by name': async (engine) => {
    // TypeProto.Sequence { elem_type { tensor_type { elem_type: 1 } } }
    const sequenceType = Uint8Array.of(0x0a, 4, 0x0a, 2, 0x08, 1)
    const sequence = modelOf({
      node: [node('SequenceConstruct', ['x'], ['list'])],
      input: [tensorInfo('x', 'float32', [2])],
      output: [{ name: 'list', type: { sequenceType } }],
    })
    await rejects(engine.load('sequence', sequence), 'invalid_argument', /output "list" must be a tensor/)
  },

  'a model that fails on every input is refused when loaded': async (engine) => {
    // The compiler cannot see that 2 × N values never make 3 × 3.
    const weights = { shape: Tensor.from('int64', [2], [3, 3]) }
    const broken = oneNode('Reshape', [['x', 'float32', ['N', 2]]], ['float32', [3, 3]], weights)
    await rejects(engine.load('broken', broken), 'invalid_argument', /it must run on (webgpu|wasm|cpu)/)
  },

  'a model that fails only on zeros is loaded with a warning': (engine) =>
    withModel(
      engine,
      oneNode('Reshape', [['x', 'float32', [2, 3]], ['to', 'int64', [1]]], ['float32', ['']]),
      async (key, loaded) => {
        assert.match(loaded.warning ?? 'none', /reshape/i)
        const x = randomTensor([2, 3], 1)
        const { outputs } = await engine.run(key, { x, to: Tensor.from('int64', [1], [6]) })
        assertSame(outputs.y, new Tensor('float32', [6], x.bytes))
      },
    ),

  'a model of enormous inputs is loaded without being tried on zeros': (engine) =>
    withModel(engine, identityModel('float32', [LIMITS.maxWarmUpBytes]), (_key, loaded) => {
      assert.match(loaded.warning ?? 'none', /too large/)
      return Promise.resolve()
    }),

  'loading twice is a no-op, also at the same time': async (engine) => {
    const bytes = identityModel('float32', [1])
    const loads = await Promise.all([engine.load('twice', bytes), engine.load('twice', bytes)])
    assert.deepEqual(loads, [loads[0], loads[0]])
    // The bytes are not looked at again.
    assert.deepEqual(await engine.load('twice', new Uint8Array([1])), loads[0])
    await engine.unload('twice')
    await rejects(engine.run('twice', {}), 'not_found', /twice must be loaded/)
    await engine.unload('twice')
  },

  'an unloaded model can be loaded again': async (engine) => {
    const x = Tensor.from('float32', [1], [7])
    for (let round = 0; round < 3; round++) {
      await engine.load('again', identityModel('float32', [1]))
      // Asked for before the unload, so served before it.
      const [{ outputs }] = await Promise.all([engine.run('again', { x }), engine.unload('again')])
      assertSame(outputs.y, x)
    }
  },

  'sixteen calls at once are all right': (engine) =>
    withModel(
      engine,
      network(WEIGHTS),
      (first) =>
        withModel(engine, identityModel('float32', ['N']), async (second) => {
          await Promise.all(Array.from({ length: 16 }, async (_, i) => {
            const x = i % 2 === 0 ? randomTensor([1 + i, 16], i) : randomTensor([1 + i], i)
            const { outputs } = await engine.run(i % 2 === 0 ? first : second, { x })
            if (i % 2 === 0) assertClose(outputs.y, referenceNetwork(x))
            else assertSame(outputs.y, x)
          }))
        }),
    ),

  'outputs outlive the model, inputs stay as they were': async (engine) => {
    const key = 'survivor'
    await engine.load(key, identityModel('float32', ['N']))
    // Starts at an odd byte: a view that no Float32Array can have.
    const values = randomTensor([100], 1)
    const odd = new Uint8Array(values.bytes.length + 1)
    odd.set(values.bytes, 1)
    const x = new Tensor('float32', [100], odd.subarray(1))
    const first = (await engine.run(key, { x })).outputs.y
    await engine.run(key, { x: randomTensor([100], 2) })
    await engine.unload(key)
    assertSame(first, values)
    assertSame(x, values)
  },

  'large tensors and large models go through': async (engine) => {
    const weights = { w: randomTensor([5, 1024, 1024], 1) }
    const add = oneNode('Add', [['x', 'float32', ['N', 1024, 1024]]], ['float32', [5, 1024, 1024]], weights)
    await withModel(engine, add, async (key) => {
      const y = (await engine.run(key, { x: Tensor.from('float32', [1, 1024, 1024], new Float32Array(2 ** 20)) }))
        .outputs.y
      assertSame(y, weights.w)
    })
  },
}

const closeCase: Case = async (engine) => {
  await engine.load('last', identityModel('float32', [1]))
  await Promise.all([engine.close(), engine.close()])
  const x = Tensor.from('float32', [1], [1])
  await rejects(engine.run('last', { x }), 'unavailable', /it was closed/)
  await rejects(engine.load('more', identityModel('float32', [1])), 'unavailable', /it was closed/)
}

/** Each dtype's extremes; what has no two representations must come back bit for bit. */
const VALUES: Record<DType, readonly (number | bigint | boolean | string)[]> = {
  bool: [true, false, true, true],
  uint8: [0, 255, 1, 128],
  int8: [-128, 127, 0, -1],
  uint16: [0, 65535, 1, 256],
  int16: [-32768, 32767, 0, -1],
  float16: [-0, 65504, Infinity, 2 ** -24],
  uint32: [0, 2 ** 32 - 1, 1, 2 ** 31],
  int32: [-(2 ** 31), 2 ** 31 - 1, 0, -1],
  float32: [-0, 3.4028234663852886e38, -Infinity, 2 ** -149],
  uint64: [0n, 2n ** 64n - 1n, 1n, 2n ** 53n + 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n, 0n, -1n],
  float64: [-0, Number.MAX_VALUE, Infinity, Number.MIN_VALUE],
  string: ['', 'ocean', 'Ω≈ç√ 水', 'a "quoted"\nline'],
}

function dtypeCases(): Record<string, Case> {
  return Object.fromEntries(DTYPE_LIST.map((dtype): [string, Case] => [
    `${dtype} goes through unchanged`,
    (engine) =>
      withModel(engine, identityModel(dtype, ['N', 2]), async (key) => {
        const x = Tensor.from(dtype, [2, 2], VALUES[dtype])
        assertSame((await engine.run(key, { x })).outputs.y, x)
        const none = Tensor.from(dtype, [0, 2], [])
        assertSame((await engine.run(key, { x: none })).outputs.y, none)
      }),
  ]))
}

/** Results of one network for fixed inputs: what two devices must agree on. */
export async function networkOutputs(engine: Engine): Promise<number[]> {
  const values: number[] = []
  await withModel(engine, network(WEIGHTS), async (key) => {
    for (const batch of [1, 7]) {
      const { outputs } = await engine.run(key, { x: randomTensor([batch, 16], batch) })
      values.push(...outputs.y?.data as Float32Array)
    }
  })
  return values
}

/** Loads a model for the length of one case. */
async function withModel(
  engine: Engine,
  bytes: Uint8Array,
  run: (key: string, loaded: Awaited<ReturnType<Engine['load']>>) => Promise<void>,
): Promise<void> {
  const key = await sha256Hex(bytes)
  const loaded = await engine.load(key, bytes)
  try {
    await run(key, loaded)
  } finally {
    await engine.unload(key)
  }
}

function assertClose(actual: Tensor | undefined, expected: Float64Array): void {
  assert.equal(actual?.dtype, 'float32')
  const values = actual?.data as Float32Array
  assert.equal(values.length, expected.length)
  expected.forEach((value, i) => assert.closeTo(values[i] ?? NaN, value, 1e-5, `element ${i}`))
}

function assertSame(actual: Tensor | undefined, expected: Tensor): void {
  assert.equal(actual?.dtype, expected.dtype)
  assert.deepEqual(actual?.shape, expected.shape)
  // Not deepEqual, which walks millions of elements one by one.
  const [left, right] = [actual?.bytes ?? new Uint8Array(0), expected.bytes]
  assert.equal(left.length, right.length)
  const at = left.findIndex((byte, i) => byte !== right[i])
  assert.equal(at, -1, `bytes differ at ${at}`)
}

async function rejects(promise: Promise<unknown>, code: string, message: RegExp, what = ''): Promise<void> {
  const thrown = await promise.then(() => undefined, (error: unknown) => error)
  assert.instanceOf(thrown, RpcError, `${what} must be refused`)
  const error = thrown as RpcError
  assert.equal(error.code, code, `${what}: ${error.message}`)
  assert.match(error.message, message, what)
}
