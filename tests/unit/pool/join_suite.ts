import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { batchKeyOf } from '../../../shared/pool/batch_key.ts'
import { cutCalls, joinCalls, padRows, trimRows } from '../../../shared/pool/join.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { exactly, randomInputs, randomKind, runRowwise } from './row_engine.ts'

function refuses(code: string, work: () => unknown, ...texts: string[]): void {
  try {
    work()
  } catch (thrown) {
    assert.instanceOf(thrown, RpcError)
    assert.equal((thrown as RpcError).code, code)
    for (const text of texts) assert.include((thrown as RpcError).message, text)
    return
  }
  assert.fail(`expected ${code}`)
}

const float = (shape: number[], values: number[]) => Tensor.from('float32', shape, values)

export const joinSuite: Suite = {
  name: 'pool: join and cut',
  cases: {
    'joined, padded, run and cut gives each call exactly what it would have got alone (seeded)': () => {
      const random = seededRandom(11)
      for (let round = 0; round < 250; round++) {
        const kind = randomKind(random)
        const counts = Array.from({ length: 2 + Math.floor(random() * 6) }, () => 1 + Math.floor(random() * 4))
        const calls = counts.map((count) => ({ inputs: randomInputs(kind, count, random) }))
        const { inputs, rows } = joinCalls(calls)
        assert.deepEqual(rows, counts)
        const total = counts.reduce((sum, count) => sum + count, 0)
        for (const { shape } of Object.values(inputs)) assert.equal(shape[0], total)
        const paddedInputs = padRows(inputs, total)
        for (const { shape } of Object.values(paddedInputs)) {
          const padded = shape[0] ?? 0
          assert.isTrue(
            padded >= total && padded < 2 * total && (padded & (padded - 1)) === 0,
            `${padded} for ${total}`,
          )
        }
        const cut = cutCalls(trimRows(runRowwise(paddedInputs), total), rows)
        assert.deepEqual(
          cut.map(({ outputs }) => exactly(outputs)),
          calls.map((call) => exactly(runRowwise(call.inputs))),
        )
      }
    },

    'padding is zeros, and empty strings': () => {
      const call = (count: number) => ({
        inputs: {
          x: float([count, 1], new Array(count).fill(5)),
          s: Tensor.from('string', [count, 2], new Array(2 * count).fill('é')),
        },
      })
      const inputs = padRows(joinCalls([call(1), call(2)]).inputs, 3)
      assert.deepEqual([...inputs.x?.data as Float32Array], [5, 5, 5, 0])
      assert.deepEqual(inputs.s?.data as unknown, ['é', 'é', 'é', 'é', 'é', 'é', '', ''])
    },

    'a single call is neither padded nor copied': () => {
      const call = { inputs: { x: float([3, 1], [1, 2, 3]) } }
      const { inputs, rows } = joinCalls([call])
      assert.strictEqual(inputs, call.inputs)
      const outputs = { y: float([1], [6]) }
      assert.strictEqual(cutCalls(outputs, rows)[0]?.outputs, outputs)
    },

    'exact powers of two get no padding, and rows without any pad to one': () => {
      const call = (count: number) => ({ inputs: { x: float([count], new Array(count).fill(1)) } })
      const full = joinCalls([call(100), call(156)]).inputs
      assert.strictEqual(padRows(full, 256), full)
      assert.deepEqual(padRows(joinCalls([call(0), call(0)]).inputs, 0).x?.shape, [1])
      const none = trimRows({ y: float([1], [7]) }, 0)
      assert.deepEqual(cutCalls(none, [0, 0]).map(({ outputs }) => outputs.y?.shape), [[0], [0]])
    },

    'calls that do not go together are refused, whoever sent them': () => {
      const x = float([1, 2], [1, 2])
      const bad: Record<string, Tensor>[] = [
        {},
        { x: float([1, 3], [1, 2, 3]) },
        { x: float([1, 1, 2], [1, 2]) },
        { x: float([2], [1, 2]) },
        { x: Tensor.from('int32', [1, 2], [1, 2]) },
        { x, y: x },
        { y: x },
      ]
      for (const inputs of bad) {
        refuses('invalid_argument', () => joinCalls([{ inputs: { x } }, { inputs }]), 'Cannot join calls', 'input "')
      }
      const scalar = { inputs: { x: float([], [1]) } }
      refuses('invalid_argument', () => joinCalls([scalar, scalar]), 'input "x"')
      const uneven = { inputs: { x, y: float([2, 2], [1, 2, 3, 4]) } }
      refuses('invalid_argument', () => joinCalls([uneven, uneven]), 'input "y"')
      refuses('internal', () => joinCalls([]), 'at least one')
    },

    'an output without a row for each row of the run is refused, not cut wrongly': () => {
      for (const shape of [[], [1], [2], [8], [4, 1]]) {
        const y = float(shape, new Array(shape.reduce((product, size) => product * size, 1)).fill(0))
        refuses('failed_precondition', () => cutCalls({ y }, [1, 2]), '"y"', 'a batch of 3', `[${shape}]`)
      }
    },

    'padding that a run did not keep is noticed': () => {
      for (const shape of [[], [1], [3], [8], [3, 1]]) {
        const y = float(shape, new Array(shape.reduce((product, size) => product * size, 1)).fill(0))
        refuses('failed_precondition', () => trimRows({ y }, 3), '"y"', 'a batch of 4', `[${shape}]`)
        if (shape[0] !== 3) refuses('failed_precondition', () => padRows({ y }, 3), '"y"', 'a batch of 3', `[${shape}]`)
      }
    },

    'the outputs of a joined run are views of it': () => {
      const y = float([4, 1], [1, 2, 3, 4])
      const cut = cutCalls({ y }, [1, 3])
      assert.strictEqual(cut[0]?.outputs.y?.bytes.buffer, y.bytes.buffer)
      assert.deepEqual([...cut[1]?.outputs.y?.data as Float32Array], [2, 3, 4])
    },

    'keys are equal just where calls may be joined': () => {
      const key = batchKeyOf({ a: float([1, 2], [1, 2]), b: float([1], [1]) })
      assert.equal(batchKeyOf({ b: float([3], [1, 2, 3]), a: float([3, 2], [1, 2, 3, 4, 5, 6]) }), key)
      const others: Record<string, Tensor>[] = [
        { a: float([1, 2], [1, 2]) },
        { a: float([1, 3], [1, 2, 3]), b: float([1], [1]) },
        { a: float([1, 1, 2], [1, 2]), b: float([1], [1]) },
        { a: Tensor.from('float64', [1, 2], [1, 2]), b: float([1], [1]) },
        { A: float([1, 2], [1, 2]), b: float([1], [1]) },
      ]
      for (const inputs of others) assert.notEqual(batchKeyOf(inputs), key)
      const alone: Record<string, Tensor>[] = [
        {},
        { a: float([], [1]) },
        { a: float([0, 2], []) },
        { a: float([1, 2], [1, 2]), b: float([2], [1, 2]) },
        { a: float([1, 2], [1, 2]), b: float([], [1]) },
      ]
      for (const inputs of alone) assert.isUndefined(batchKeyOf(inputs))
    },

    'names cannot be chosen so that calls that differ get one key': () => {
      const tricky = 'a:float32[];b'
      const honest = { a: float([1], [1]), b: float([1], [1]) }
      assert.notEqual(batchKeyOf({ [tricky]: float([1], [1]) }), batchKeyOf(honest))
    },
  },
}
