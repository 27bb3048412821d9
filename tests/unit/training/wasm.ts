import * as ort from 'onnxruntime-web/wasm'
import { isDType } from '../../../shared/wire/dtype.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'

ort.env.wasm.numThreads = 1
ort.env.logLevel = 'fatal'

export type Tensors = Readonly<Record<string, Tensor>>

/** A model in onnxruntime-web's WASM build, in this thread: calls must not overlap. */
export interface Session extends AsyncDisposable {
  run(inputs: Tensors): Promise<Record<string, Tensor>>
}

export async function open(model: Uint8Array): Promise<Session> {
  const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'], logSeverityLevel: 4 })
  return {
    async run(inputs) {
      const feeds = Object.entries(inputs).map(([name, { dtype, data, shape }]) => {
        return [name, new ort.Tensor(dtype, data as ort.Tensor.DataType, [...shape])] as const
      })
      const results = await session.run(Object.fromEntries(feeds), { logSeverityLevel: 4 })
      return Object.fromEntries(
        Object.entries(results).map(([name, { type, dims, data }]) => {
          if (!isDType(type) || !ArrayBuffer.isView(data)) throw new Error(`output "${name}" has type ${type}`)
          return [name, new Tensor(type, dims, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))]
        }),
      )
    },
    [Symbol.asyncDispose]: () => session.release(),
  }
}

/** Runs a model once: the `run` that shared/training asks for. */
export async function run(model: Uint8Array, inputs: Tensors): Promise<Record<string, Tensor>> {
  await using session = await open(model)
  return await session.run(inputs)
}
