/** The benchmark's models in jax-js, compiled as a whole. */
import './one_thread.ts'
import { defaultDevice, init, jit, lax, type NdArray, nn, numpy as np, valueAndGrad } from '@jax-js/jax'
import type { Peer } from './training_oracle.ts'

export async function openJax(): Promise<Peer> {
  await init('wasm')
  defaultDevice('wasm')
  return {
    name: 'jax-js wasm',
    prepare,
  }
}

const FORWARD = { mlp, cnn }

const prepare: Peer['prepare'] = (name, layout, initial, batch) => {
  let parameters = layout.map(({ shape, offset, size }) => {
    return np.array(initial.slice(offset, offset + size), { shape })
  })
  const x = np.array(batch.x, { shape: [batch.rows, ...batch.rowShape] })
  const target = np.array(batch.oneHot, { shape: [batch.rows, batch.classes] })
  const loss = (parts: NdArray[], input: NdArray, oneHot: NdArray) => {
    return nn.logSoftmax(FORWARD[name](input, parts, batch.rows)).mul(oneHot)
      .sum().neg()
  }
  const evaluate = jit(valueAndGrad(loss))
  const descend = jit(
    (parts: NdArray[], gradients: NdArray[], rate: NdArray) => {
      const next = parts.map((one, i) => one.sub(at(gradients, i).mul(rate.ref)))
      rate.dispose()
      return next
    },
  )
  const own = () => parameters.map((one) => one.ref)
  return {
    async gradients() {
      const [value, gradients] = evaluate(own(), x.ref, target.ref)
      const [[sum = NaN], ...rest] = await Promise.all([
        value.data(),
        ...gradients.map((one) => one.data()),
      ])
      return { loss: sum, gradients: rest }
    },
    async step(learningRate) {
      const [value, gradients] = evaluate(own(), x.ref, target.ref)
      const rate = np.array(Float32Array.of(learningRate / batch.rows), {
        shape: [],
      })
      parameters = descend(parameters, gradients, rate)
      // It computes when asked: all of the step is to be done when it is over.
      await Promise.all(parameters.map((one) => one.blockUntilReady()))
      return (await value.data())[0] ?? NaN
    },
    dispose() {
      for (const one of [...parameters, x, target]) one.dispose()
    },
  }
}

function at(parts: readonly NdArray[], i: number): NdArray {
  const found = parts[i]
  if (!found) {
    throw new Error(
      `Cannot compute: parameter ${i} is required, got ${parts.length}`,
    )
  }
  return found
}

function mlp(x: NdArray, parts: readonly NdArray[]): NdArray {
  let y = x
  for (let i = 0; i < parts.length; i += 2) {
    y = np.matmul(y, at(parts, i)).add(at(parts, i + 1))
    if (i + 2 < parts.length) y = nn.relu(y)
  }
  return y
}

/** As in training_tfjs.ts. Halving takes the maximum over axes of 2, which splits the gradient of equal values. */
function cnn(x: NdArray, parts: readonly NdArray[], rows: number): NdArray {
  let y = x
  let [maps, side] = [16, 28]
  for (const stage of [0, 3]) {
    y = lax.conv(y, at(parts, stage), [1, 1], 'SAME')
    const centered = y.ref.sub(np.mean(y, [1, 2, 3], { keepdims: true }))
    const variance = np.mean(np.square(centered.ref), [1, 2, 3], {
      keepdims: true,
    })
    const normal = centered.div(np.sqrt(variance.add(1e-5)))
    y = nn.relu(normal.mul(at(parts, stage + 1)).add(at(parts, stage + 2)))
    side /= 2
    y = np.max(y.reshape([rows, maps, side, 2, side, 2]), [3, 5])
    maps *= 2
  }
  return np.matmul(y.reshape([rows, maps / 2 * side * side]), at(parts, 6)).add(
    at(parts, 7),
  )
}
