/** The benchmark's models in TensorFlow.js, with gradients of its own making. */
import * as tf from '@tensorflow/tfjs'
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'
import { fileURLToPath } from 'node:url'
import type { Peer } from './training_oracle.ts'

/** The backend's WASM build lacks Conv2DBackpropFilter: networks with Conv need `cpu`, plain JavaScript. */
export async function openTfjs(backend: 'wasm' | 'cpu'): Promise<Peer> {
  setWasmPaths(
    fileURLToPath(
      new URL(
        './node_modules/@tensorflow/tfjs-backend-wasm/dist/',
        import.meta.url,
      ),
    ),
  )
  await tf.setBackend(backend)
  await tf.ready()
  return {
    name: `tfjs ${backend}`,
    prepare,
  }
}

const FORWARD = { mlp, cnn }

const prepare: Peer['prepare'] = (name, layout, initial, batch) => {
  const unique = crypto.randomUUID()
  const variables = layout.map(({ name: parameter, shape, offset, size }) => {
    return tf.variable(
      tf.tensor(initial.subarray(offset, offset + size), shape),
      true,
      `${parameter} ${unique}`,
    )
  })
  const x = tf.tensor(batch.x, [batch.rows, ...batch.rowShape])
  const target = tf.tensor(batch.oneHot, [batch.rows, batch.classes])
  const loss = () =>
    tf.neg(
      tf.sum(
        tf.mul(tf.logSoftmax(FORWARD[name](x, variables, batch.rows)), target),
      ),
    )
  return {
    async gradients() {
      const { value, grads } = tf.tidy(() => tf.variableGrads(loss, variables))
      const gradients = await Promise.all(
        layout.map(({ name: parameter }) => grads[`${parameter} ${unique}`]?.data()),
      )
      return {
        loss: (await value.data())[0] ?? NaN,
        gradients: gradients.map((one) => one ?? new Float32Array()),
      }
    },
    async step(learningRate) {
      const value = tf.tidy(() => {
        const { value, grads } = tf.variableGrads(loss, variables)
        for (const [i, { name: parameter }] of layout.entries()) {
          const [variable, gradient] = [
            variables[i],
            grads[`${parameter} ${unique}`],
          ]
          if (variable && gradient) {
            variable.assign(
              tf.sub(variable, tf.mul(gradient, learningRate / batch.rows)),
            )
          }
        }
        return value
      })
      const [sum = NaN] = await value.data()
      value.dispose()
      return sum
    },
    dispose() {
      for (const one of [...variables, x, target]) one.dispose()
    },
  }
}

type Parts = readonly tf.TfTensor[]

function part(parts: Parts, at: number): tf.TfTensor {
  const found = parts[at]
  if (!found) {
    throw new Error(
      `Cannot compute: parameter ${at} is required, got ${parts.length}`,
    )
  }
  return found
}

function mlp(x: tf.TfTensor, parts: Parts): tf.TfTensor {
  let y = x
  for (let i = 0; i < parts.length; i += 2) {
    y = tf.add(tf.matMul(y, part(parts, i)), part(parts, i + 1))
    if (i + 2 < parts.length) y = tf.relu(y)
  }
  return y
}

/** Two stages of Conv 3×3, normalization over all of a picture, ReLU and halving; then one dense layer. */
function cnn(x: tf.TfTensor, parts: Parts, rows: number): tf.TfTensor {
  // Channels come last here.
  let y = tf.transpose(x, [0, 2, 3, 1])
  for (const stage of [0, 3]) {
    y = tf.conv2d(y, tf.transpose(part(parts, stage), [2, 3, 1, 0]), 1, 'same')
    const centered = tf.sub(y, tf.mean(y, [1, 2, 3], true))
    const variance = tf.mean(tf.square(centered), [1, 2, 3], true)
    const normal = tf.div(centered, tf.sqrt(tf.add(variance, 1e-5)))
    const [scale, bias] = [part(parts, stage + 1), part(parts, stage + 2)].map((
      one,
    ) => tf.reshape(one, [-1]))
    if (!scale || !bias) {
      throw new Error('Cannot compute: scale and bias are required')
    }
    y = tf.maxPool(tf.relu(tf.add(tf.mul(normal, scale), bias)), 2, 2, 'valid')
  }
  const flat = tf.reshape(tf.transpose(y, [0, 3, 1, 2]), [rows, -1])
  return tf.add(tf.matMul(flat, part(parts, 6)), part(parts, 7))
}
