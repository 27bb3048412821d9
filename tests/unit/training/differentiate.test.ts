import { describe, expect, it } from 'vitest'
import { Builder } from '../../../shared/training/builder.ts'
import { differentiate } from '../../../shared/training/differentiate.ts'
import { writeGraph } from '../../../shared/training/write_graph.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { run } from './wasm.ts'

const X = Tensor.from('float32', [2], [2, -3])

/** The gradients of Σ f(x, z) by x and z = (0.5, 4). */
async function gradients(f: (b: Builder, x: string, z: string) => string): Promise<number[][]> {
  const b = new Builder()
  const [x, z] = [b.input('x', 'float32', [2]), b.input('z', 'float32', [2])]
  const found = differentiate(b, b.reshape(b.sum(f(b, x, z)), []), [x, z])
  const model = writeGraph(b, found.map((value, i) => ({ name: `d${i}`, value })))
  const outputs = await run(model, { x: X, z: Tensor.from('float32', [2], [0.5, 4]) })
  return found.map((_, i) => Array.from(outputs[`d${i}`]?.data as Float32Array))
}

describe('differentiate', () => {
  it('adds up over all uses of a value', async () => {
    // x² + x·z + x
    expect(await gradients((b, x, z) => b.add(b.add(b.mul(x, x), b.mul(x, z)), x))).toEqual([[5.5, -1], [2, -3]])
  })

  it('gives zeros for a parameter on which the loss does not depend', async () => {
    expect(await gradients((b, x) => b.mul(x, 3))).toEqual([[3, 3], [0, 0]])
    expect(await gradients((b) => b.constant(Tensor.from('float32', [2], [1, 1])))).toEqual([[0, 0], [0, 0]])
  })

  it('lets nothing through what is held constant, a step or a comparison', async () => {
    expect(await gradients((b, x, z) => b.mul(b.stop(x), z))).toEqual([[0, 0], [2, -3]])
    expect(await gradients((b, x, z) => b.mul(b.step(x), z))).toEqual([[0, 0], [1, 0]])
    expect(await gradients((b, x, z) => b.where(b.compare('Greater', x, 0), z, 1))).toEqual([[0, 0], [1, 0]])
    expect(await gradients((b, x, z) => b.mul(b.cast(b.cast(x, 'int32'), 'float32'), z))).toEqual([[0, 0], [2, -3]])
  })

  it('leaves out what no output needs', () => {
    const b = new Builder()
    const x = b.input('x', 'float32', [2])
    b.unary('Sqrt', x)
    const [dx = ''] = differentiate(b, b.reshape(b.sum(b.unary('Tanh', x)), []), [x])
    const text = new TextDecoder('latin1').decode(writeGraph(b, [{ name: 'dx', value: dx }]))
    expect(text).toContain('Tanh')
    expect(text).not.toContain('Sqrt')
  })

  it('names the node of the model whose operator has no rule', () => {
    const b = new Builder()
    const x = b.input('x', 'float32', [2])
    b.origin = { op: 'Fancy', name: '/block/fancy' }
    const y = b.unary('Unheard', x)
    expect(() => differentiate(b, y, [x])).toThrow(
      /node "\/block\/fancy" \(Fancy\) must be of an operator with a gradient rule, got Unheard/,
    )
  })

  it('notices a rule whose gradient does not fit its input', () => {
    const b = new Builder()
    const x = b.input('x', 'float32', [2])
    const y = b.sum(b.unary('Tanh', x))
    const wrong = { ReduceSum: (_: Builder, __: unknown, dy: string) => [dy], Tanh: () => [] }
    expect(() => differentiate(b, y, [x], wrong)).toThrow(/ReduceSum gives \[1\] as the gradient of \[2\]/)
  })
})

describe('Builder', () => {
  it('refuses operands that do not fit, naming the node they are for', () => {
    const b = new Builder()
    const [x, y, i] = [b.input('x', 'float32', [2, 3]), b.input('y', 'float32', [4]), b.input('i', 'int32', [3])]
    b.origin = { op: 'Attention', name: '/attention' }
    expect(() => b.add(x, y)).toThrow(
      /Add does not take float32 \[2,3\] and float32 \[4\] \(at "\/attention", Attention\)/,
    )
    expect(() => b.add(x, i)).toThrow(/float32 \[2,3\] and int32 \[3\]/)
    expect(() => b.matmul(x, x)).toThrow(/MatMul does not take/)
    expect(() => b.reshape(x, [4])).toThrow(/Reshape to \[4\] does not take/)
    expect(() => b.input('x', 'float32', [])).toThrow(RpcError)
    expect(() => b.shape('nowhere')).toThrow(/no value "nowhere"/)
  })

  it('names its values around the inputs', () => {
    const b = new Builder()
    b.input('v0', 'float32', [2])
    b.input('c1', 'float32', [2])
    expect(new Set([b.neg('v0'), b.constant(X), b.neg('c1'), 'v0', 'c1']).size).toBe(5)
  })

  it('keeps 0 and −0 apart', () => {
    const b = new Builder()
    expect(b.scalar(0, 'float32')).not.toBe(b.scalar(-0, 'float32'))
    expect(b.scalar(2, 'float32')).toBe(b.scalar(2, 'float32'))
  })

  it('splits into more parts than a GPU can bind at once', async () => {
    const b = new Builder()
    const x = b.input('x', 'float32', [2, 10])
    const parts = b.split(x, 1, [1, 1, 1, 1, 1, 1, 1, 3])
    const values = Tensor.from('float32', [2, 10], Array.from({ length: 20 }, (_, i) => i))
    const outputs = await run(writeGraph(b, parts.map((value, i) => ({ name: `p${i}`, value }))), { x: values })
    expect(b.nodes.every(({ outputs }) => outputs.length <= 7)).toBe(true)
    expect(Array.from(outputs.p6?.data as Float32Array)).toEqual([6, 16])
    expect(Array.from(outputs.p7?.data as Float32Array)).toEqual([7, 8, 9, 17, 18, 19])
  })
})
