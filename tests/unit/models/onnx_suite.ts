import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { assert } from 'chai'
import { concat, encodeUtf8 } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import {
  attribute,
  fromTensorProto,
  type MessageInit,
  node,
  readModel,
  tensorInfo,
  toTensorProto,
  writeModel,
} from '../../../shared/models/onnx.ts'
import { decode, encode } from '../../../shared/models/onnx_codec.ts'
import { DTYPE_LIST, DTYPES } from '../../../shared/wire/dtype.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from './refusal.ts'

/** A model that uses every kind of field. */
const FULL: MessageInit<'ModelProto'> = {
  irVersion: 8,
  producerName: 'shoal',
  producerVersion: '1',
  domain: 'test',
  modelVersion: -1n,
  docString: 'Ünïcode 🐟',
  opsetImport: [{ version: 17 }, { domain: 'com.microsoft', version: 1 }],
  metadataProps: [{ key: 'labels', value: 'cat,dog' }],
  functions: [encodeUtf8('')],
  graph: {
    name: 'g',
    input: [tensorInfo('x', 'float32', ['N', 3, ''])],
    output: [{ name: 'y', type: { tensorType: { elemType: 1, shape: { dim: [{ dimValue: 0 }] } } } }],
    valueInfo: [{ name: 's', type: { sequenceType: Uint8Array.of(1, 2), denotation: 'd' } }],
    initializer: [
      toTensorProto('w', Tensor.from('float32', [2, 2], [1, 2, 3, 4])),
      toTensorProto('names', Tensor.from('string', [2], ['', 'sea'])),
      { name: 'e', dataType: 1, dims: [1], dataLocation: 1, externalData: [{ key: 'location', value: 'w.bin' }] },
    ],
    node: [
      node('Everything', ['x', '', 'w'], ['y'], {
        axis: 0,
        far: 2n ** 63n - 1n,
        perm: [1, -1, 0],
        alpha: { float: 0 },
        scales: { floats: [0.5, -2] },
        mode: 'edge',
        value: Tensor.from('int64', [1], [-5]),
        body: { graph: { name: 'inner', node: [node('Identity', ['a'], ['b'])] } },
      }),
    ],
  },
}

export const onnxSuite: Suite = {
  name: 'ONNX reader and writer',
  cases: {
    'what is written is read back, and written again to the same bytes': () => {
      const bytes = writeModel(FULL)
      const model = readModel(bytes)
      assert.deepEqual(writeModel(model), bytes)
      const { graph } = model
      assert.equal(model.irVersion, 8)
      assert.equal(model.modelVersion, -1n)
      assert.equal(model.docString, 'Ünïcode 🐟')
      assert.deepEqual(model.opsetImport, [{ domain: '', version: 17 }, { domain: 'com.microsoft', version: 1 }])
      assert.lengthOf(model.functions, 1)
      assert.deepEqual(
        graph.input[0]?.type?.tensorType?.shape?.dim.map(({ dimValue, dimParam }) => dimValue ?? dimParam),
        [
          'N',
          3,
          undefined,
        ],
      )
      assert.equal(graph.output[0]?.type?.tensorType?.shape?.dim[0]?.dimValue, 0)
      assert.deepEqual([...graph.valueInfo[0]?.type?.sequenceType ?? []], [1, 2])
      assert.equal(graph.initializer[2]?.externalData[0]?.value, 'w.bin')
      const [everything] = graph.node
      if (!everything) throw new Error('the node is missing')
      assert.deepEqual(everything.input, ['x', '', 'w'])
      assert.equal(everything.attribute.find(({ name }) => name === 'body')?.g?.node[0]?.opType, 'Identity')
      assert.equal(everything.attribute.find(({ name }) => name === 'far')?.i, 2n ** 63n - 1n)
    },

    'attributes are read with their defaults, and refused with another type': () => {
      const [everything] = readModel(writeModel(FULL)).graph.node
      if (!everything) throw new Error('the node is missing')
      assert.strictEqual(attribute(everything, 'axis', 'int', 7), 0)
      assert.strictEqual(attribute(everything, 'absent', 'int', 7), 7)
      assert.deepEqual(attribute(everything, 'perm', 'ints', undefined), [1, -1, 0])
      assert.strictEqual(attribute(everything, 'alpha', 'float', 1), 0)
      assert.deepEqual(attribute(everything, 'scales', 'floats', []), [0.5, -2])
      assert.strictEqual(attribute(everything, 'mode', 'string', ''), 'edge')
      assertRefused(() => attribute(everything, 'mode', 'int', 0), /node "y" \(Everything\): attribute "mode" must be/)
      assertRefused(() => node('Gemm', [], ['y'], { alpha: 0.5 }), /"alpha": a plain number must be whole, got 0.5/)
    },

    'initializers of every dtype keep their values': () => {
      for (const dtype of DTYPE_LIST) {
        const values = dtype === 'string'
          ? ['a', '🐟']
          : dtype === 'bool'
          ? [1, 0]
          : dtype.endsWith('64')
          ? [1n, 2n]
          : [1, 2]
        const tensor = Tensor.from(dtype, [2, 1], dtype === 'float64' ? [1, 2] : values)
        const proto = decode('TensorProto', encode('TensorProto', toTensorProto('t', tensor)))
        const read = fromTensorProto(proto)
        assert.equal(read.dtype, dtype)
        assert.deepEqual(read.shape, [2, 1])
        assert.deepEqual([...read.data], [...tensor.data])
      }
    },

    'values stored by type are read like raw ones': () => {
      const typed = (name: keyof typeof DTYPES, field: string, packed: Uint8Array, count: number) =>
        fromTensorProto(
          decode(
            'TensorProto',
            encode('TensorProto', { dims: [count], dataType: DTYPES[name].onnx, [field]: [packed] }),
          ),
        )
      const varints = (...values: (number | bigint)[]) => {
        const writer = new BinaryWriter()
        for (const value of values) writer.int64(value)
        return writer.finish()
      }
      assert.deepEqual([...typed('float32', 'floatData', new Uint8Array(Float32Array.of(1.5, -2).buffer), 2).data], [
        1.5,
        -2,
      ])
      assert.deepEqual([...typed('float64', 'doubleData', new Uint8Array(Float64Array.of(0.1).buffer), 1).data], [0.1])
      assert.deepEqual([...typed('int8', 'int32Data', varints(-128, 127), 2).data], [-128, 127])
      assert.deepEqual([...typed('bool', 'int32Data', varints(1, 0), 2).data], [1, 0])
      assert.deepEqual([...typed('float16', 'int32Data', varints(0x3e00), 1).data], [1.5])
      assert.deepEqual([...typed('int32', 'int32Data', varints(-(2 ** 31), 7), 2).data], [-(2 ** 31), 7])
      assert.deepEqual([...typed('uint32', 'uint64Data', varints(2 ** 32 - 1), 1).data], [2 ** 32 - 1])
      assert.deepEqual([...typed('int64', 'int64Data', varints(-(2n ** 63n), 5n), 2).data], [-(2n ** 63n), 5n])
      assert.deepEqual([...typed('uint64', 'uint64Data', varints(-1n), 1).data], [2n ** 64n - 1n])
      assertRefused(() => typed('int32', 'int32Data', varints(1, 2), 1), /tensor "" must have 1 int32 values/)
      // Refused before room for 2^30 numbers is made.
      const claim = assertRefused(() => typed('int32', 'int32Data', varints(1), 2 ** 30), /must have 1073741824 int32/)
      assert.match((claim.cause as Error).message, /the data end after 1 bytes/)
    },

    'numbers that are not packed are read too': () => {
      const dims = new BinaryWriter().tag(1, WireType.Varint).int64(2).tag(1, WireType.Varint).int64(3)
      const data = dims.tag(2, WireType.Varint).int32(1).tag(4, WireType.Bit32).float(1).tag(4, WireType.Bit32).float(2)
      const proto = decode('TensorProto', data.finish())
      assert.deepEqual(proto.dims, [2, 3])
      assert.deepEqual([...new Float32Array(concat(proto.floatData).buffer)], [1, 2])
    },

    'fields that are not known are skipped': () => {
      const extra = new BinaryWriter()
        .tag(99, WireType.Varint).int64(-1n)
        .tag(98, WireType.LengthDelimited).bytes(Uint8Array.of(1, 2, 3))
        .tag(97, WireType.Bit32).fixed32(1)
        .tag(96, WireType.Bit64).fixed64(1)
        .finish()
      const bytes = writeModel(FULL)
      assert.deepEqual(writeModel(readModel(concat([extra, bytes, extra]))), bytes)
    },

    'raw data are a view of the file': () => {
      const bytes = writeModel(FULL)
      const weights = readModel(bytes).graph.initializer[0]
      assert.strictEqual(weights?.rawData?.buffer, bytes.buffer)
      assert.strictEqual(fromTensorProto(weights ?? fail()).bytes.buffer, bytes.buffer)
    },

    'large data are written whole, however deep they lie': () => {
      const large = Tensor.from('float32', [5000], Float32Array.from({ length: 5000 }, (_, i) => i))
      const inner: MessageInit<'GraphProto'> = { node: [node('Constant', [], ['c'], { value: large })] }
      const outer: MessageInit<'GraphProto'> = {
        initializer: [toTensorProto('w', large)],
        node: [node('If', ['b'], ['c'], { then_branch: { graph: inner } })],
        name: 'after the data',
      }
      const { graph } = readModel(writeModel({ graph: outer }))
      const constant = graph.node[0]?.attribute[0]?.g?.node[0]?.attribute[0]?.t
      assert.deepEqual([...fromTensorProto(constant ?? fail()).data], [...large.data])
      assert.deepEqual([...fromTensorProto(graph.initializer[0] ?? fail()).data], [...large.data])
      assert.equal(graph.name, 'after the data')
    },

    'files that are not ONNX are told apart': () => {
      const kinds: [string | Uint8Array, RegExp][] = [
        ['', /got an empty file$/],
        ['PK\x03\x04 and so on', /got a ZIP archive/],
        ['{"model": 1}', /got JSON$/],
        ['<!doctype html>', /got HTML or XML/],
        ['version https://git-lfs.github.com/spec/v1', /got a Git LFS pointer/],
        ['\x08\x08', /got 2 bytes without a graph$/],
        ['GGUF\x03', /got a GGUF file$/],
        [Uint8Array.of(0x3a, 5, 1), /got 3 bytes that do not parse/],
      ]
      for (const [file, message] of kinds) {
        const bytes = typeof file === 'string' ? encodeUtf8(file) : file
        assertRefused(() => readModel(bytes), message)
        assertRefused(
          () => readModel(bytes),
          /^Cannot read the model: expected an ONNX file \(protobuf ModelProto with a graph\), got /,
        )
      }
    },

    'every truncation and thousands of damaged files are read or refused, never worse': () => {
      const bytes = writeModel(FULL)
      const readOrRefuse = (file: Uint8Array): boolean => {
        try {
          readModel(file)
          return true
        } catch (error) {
          if (!(error instanceof RpcError) || error.code !== 'invalid_argument') throw error
          return false
        }
      }
      let refused = 0
      for (let end = 0; end < bytes.length; end++) if (!readOrRefuse(bytes.subarray(0, end))) refused++
      assert.isAbove(refused, bytes.length / 2)
      const random = seededRandom(1)
      let read = 0
      for (let i = 0; i < 5000; i++) {
        const damaged = bytes.slice()
        for (let k = 0; k < 3; k++) damaged[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
        if (readOrRefuse(damaged)) read++
        readOrRefuse(Uint8Array.from({ length: Math.floor(random() * 200) }, () => Math.floor(random() * 256)))
      }
      assert.isAbove(read, 0)
      assert.isBelow(read, 5000)
    },

    'a length past the end is refused, of the file and of the message around it': () => {
      const graph = (inner: BinaryWriter) => {
        const body = inner.finish()
        return new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(body).finish()
      }
      const huge = new BinaryWriter().tag(2, WireType.LengthDelimited).uint32(0xffffffff)
      assertRefused(() => readModel(graph(huge)), /do not parse/)
      // The graph's name claims more than the graph has, though the file goes on behind it.
      const longName = graph(new BinaryWriter().tag(2, WireType.LengthDelimited).uint32(5).raw(encodeUtf8('abc')))
      assertRefused(() => readModel(concat([longName, encodeUtf8('\x12\x0512345')])), /ends inside a field/)
      const longNode = graph(new BinaryWriter().tag(1, WireType.LengthDelimited).uint32(9))
      assertRefused(() => readModel(concat([longNode, new Uint8Array(20)])), /a length runs past the end/)
      const longDims = encode('GraphProto', { initializer: [{ dims: [1, 2] }] })
      longDims[3] = 9
      assertRefused(() => readModel(graph(new BinaryWriter().raw(longDims))), /a length runs past the end/)
    },

    'subgraphs may nest, but not without end': () => {
      const nested = (depth: number): MessageInit<'GraphProto'> =>
        depth === 0 ? {} : { node: [node('If', ['c'], ['y'], { then_branch: { graph: nested(depth - 1) } })] }
      readModel(writeModel({ graph: nested(9) }))
      assertRefused(() => readModel(writeModel({ graph: nested(30) })), new RegExp(`deeper than ${LIMITS.maxDepth}`))
    },

    'a file of millions of tiny messages is refused': () => {
      // 2 bytes each: an empty node.
      const nodes = new Uint8Array(2 * (LIMITS.maxModelValues + 1))
      for (let i = 0; i < nodes.length; i += 2) nodes[i] = (1 << 3) | WireType.LengthDelimited
      const file = new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(nodes).finish()
      assertRefused(() => readModel(file), /more than 1000000 values/)
      const unknown = new Uint8Array(3 * (LIMITS.maxModelValues + 1))
      for (let i = 0; i < unknown.length; i += 3) unknown.set([0x98, 0x06, 0], i)
      assertRefused(() => readModel(unknown), /more than 1000000 values/)
    },

    'a second graph cannot hide the first': () => {
      const graph = writeModel({ graph: { name: 'g' } })
      assertRefused(() => readModel(concat([graph, graph])), /graph is given twice/)
    },

    'text that is not UTF-8, groups, and integers beyond 2^53 are refused': () => {
      const file = (writer: BinaryWriter) => () => readModel(writer.finish())
      assertRefused(
        file(new BinaryWriter().tag(2, WireType.LengthDelimited).bytes(Uint8Array.of(0xff))),
        /do not parse/,
      )
      assertRefused(file(new BinaryWriter().tag(50, WireType.StartGroup).tag(50, WireType.EndGroup)), /group/)
      assertRefused(file(new BinaryWriter().tag(1, WireType.Varint).int64(2n ** 60n)), /beyond/)
      assertRefused(file(new BinaryWriter().tag(1, WireType.Bit32).float(1)), /wrong wire type/)
    },
  },
}

function fail(): never {
  throw new Error('it is missing')
}
