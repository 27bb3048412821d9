import { assert } from 'chai'
import { describe, it } from 'vitest'
import { type Bytes, concat, encodeUtf8, sha256Hex } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { encodeBundle, isPlainPath, readBundle } from '../../../shared/models/bundle.ts'
import { type RandomAccess, readLeanModel } from '../../../shared/models/lean_model.ts'
import { node, tensorInfo, toTensorProto } from '../../../shared/models/onnx.ts'
import { readSignature } from '../../../shared/models/signature.ts'
import { openModel } from '../../../shared/worker/model_files.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { affineModel, externalAffineModel, identityModel, modelOf, pairModel } from '../../fixtures/models.ts'
import { assertRejects } from './refusal.ts'

/** Counts the bytes that are read of it. */
function accessTo(bytes: Uint8Array): RandomAccess & { bytesRead: number } {
  return {
    size: bytes.length,
    bytesRead: 0,
    read(at, length) {
      assert.isAtMost(at + length, bytes.length)
      this.bytesRead += length
      return Promise.resolve(bytes.subarray(at, at + length))
    },
  }
}

const MiB = 1 << 20
const wide = (weights: number): Bytes => {
  const values = new Float32Array(weights)
  return modelOf({
    input: [tensorInfo('x', 'float32', ['N', 1])],
    output: [tensorInfo('y', 'float32', ['N', weights])],
    initializer: [toTensorProto('w', Tensor.from('float32', [1, weights], values))],
    node: [node('MatMul', ['x', 'w'], ['y'])],
  })
}

describe('a model without its weights', () => {
  it('says what the whole says', async () => {
    for (
      const model of [identityModel('int8'), pairModel(), affineModel({ weights: [[1], [2]], bias: [3] }), wide(5e4)]
    ) {
      const lean = await readLeanModel(accessTo(model))
      assert.deepEqual(readSignature(lean), readSignature(model))
    }
  })

  it('is small, and what is dropped is not read', async () => {
    const model = wide(8 * MiB)
    const file = accessTo(model)
    const lean = await readLeanModel(file)
    assert.isBelow(lean.length, 1000)
    assert.isBelow(file.bytesRead, MiB)
    assert.deepEqual(readSignature(lean).signature.outputs[0]?.shape, [-1, 8 * MiB])
  })

  it('keeps what initializers say beside their values', async () => {
    const { model, data } = externalAffineModel({ weights: [[1], [2]], bias: [3] })
    const lean = await readLeanModel(accessTo(model))
    assert.doesNotThrow(() => readSignature(lean, new Map([['weights.bin', data.length]])))
    assert.throws(() => readSignature(lean), /external data must come with it/)
    assert.throws(
      () => readSignature(lean, new Map([['weights.bin', data.length - 1]])),
      /must lie within the 11 bytes/,
    )
    assert.throws(() => readSignature(lean, new Map([['other.bin', 1000]])), /external data must come with it/)
  })

  it('refuses what is no model, wherever it breaks', async () => {
    const model = affineModel({ weights: [[1], [2]], bias: [3] })
    const bad = [
      Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
      Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f),
      Uint8Array.of(0x3a),
      Uint8Array.of(0x0b, 0x0c),
      model.slice(0, -3),
    ]
    for (const bytes of bad) await assertRejects(readLeanModel(accessTo(bytes)), /do not parse/)
    const constant = modelOf({
      output: [tensorInfo('y', 'float32', [10 * MiB])],
      node: [node('Constant', [], ['y'], { value: Tensor.from('float32', [10 * MiB], new Float32Array(10 * MiB)) })],
    })
    await assertRejects(readLeanModel(accessTo(constant)), /beside its weights/)
  })
})

describe('a bundle', () => {
  const piece = (n: number, bytes: number) => ({ sha256: n.toString(16).padStart(64, '0'), bytes })
  const file = (path: string, ...pieces: { sha256: string; bytes: number }[]) => ({
    path,
    bytes: pieces.reduce((sum, { bytes }) => sum + bytes, 0),
    pieces,
  })
  const model = file('m.onnx', piece(1, 10), piece(2, 5))

  it('is read as it was written, and no model is taken for one', () => {
    const external = [file('a/b.bin', piece(3, 7))]
    assert.deepEqual(readBundle(encodeBundle({ model, external })), { format: 'shoal-bundle/1', model, external })
    for (const bytes of [identityModel('int8'), encodeUtf8('{"format":"other"}'), new Uint8Array()]) {
      assert.isUndefined(readBundle(bytes))
    }
  })

  it('is refused where it does not hold together', () => {
    const bad: [unknown, RegExp][] = [
      [{ model: { ...model, bytes: 16 }, external: [] }, /add up/],
      [{ model, external: [file('m.onnx', piece(3, 1))] }, /a path of its own/],
      [{ model, external: [file('../x', piece(3, 1))] }, /without \. and \.\./],
      [{ model: file('m', piece(1, LIMITS.maxPieceBytes + 1)), external: [] }, /pieces\.0\.bytes/],
      [{ model: file('m', { sha256: 'x', bytes: 1 }), external: [] }, /sha256/],
      [{
        model: file('m', ...Array.from({ length: 65 }, (_, i) => piece(i, LIMITS.maxPieceBytes))),
        external: [],
      }, /bytes/],
    ]
    for (const [content, message] of bad) {
      assert.throws(() => readBundle(encodeBundle(content as Parameters<typeof encodeBundle>[0])), message)
    }
    assert.throws(() => readBundle(encodeUtf8('{"format":"shoal-bundle/1",')), /must be JSON/)
    for (const path of ['', '/etc/passwd', '..', 'a/../b', 'a//b', 'a\\b', './a', 'a\0']) {
      assert.isFalse(isPlainPath(path))
    }
  })

  it('is put together by a worker, each piece checked', async () => {
    const parts = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5), Uint8Array.of(6, 7, 8, 9)]
    const blobs = new Map<string, Bytes>()
    const store = async (bytes: Bytes) => {
      const sha256 = await sha256Hex(bytes)
      blobs.set(sha256, bytes)
      return { sha256, bytes: bytes.length }
    }
    const [a, b, c] = await Promise.all(parts.map(store))
    assert(a && b && c)
    const { sha256 } = await store(encodeBundle({ model: file('m.onnx', a, b), external: [file('w.bin', c)] }))
    const source = { get: (hash: string) => Promise.resolve(blobs.get(hash) ?? new Uint8Array()) }
    const { signal } = new AbortController()
    const files = await openModel(source, sha256, signal)
    assert.deepEqual(files.model, concat(parts.slice(0, 2)))
    assert.deepEqual(files.external, [{ path: 'w.bin', data: parts[2] as Bytes }])
    blobs.set(b.sha256, Uint8Array.of(4))
    await assertRejects(openModel(source, sha256, signal), /must have 2 bytes, got 1/, 'data_loss')
    const plain = await store(identityModel('int8'))
    assert.deepEqual(await openModel(source, plain.sha256, signal), { model: identityModel('int8') })
  })
})
