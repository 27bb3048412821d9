import type { OrtModule } from './ort_runtime.ts'

/**
 * Makes onnxruntime-node look like onnxruntime-web. Both have their Tensor from onnxruntime-common, which holds float16
 * in a Float16Array where there is one; the native code knows it as Uint16Array alone, and reads nothing from the other.
 * @param load imports the package; it must not have been loaded in this thread before
 */
export async function adaptNative(load: () => Promise<OrtModule>): Promise<OrtModule> {
  const ort = await withoutFloat16Array(async () => {
    const loaded = await load()
    // Which arrays there are is looked up once, for the first tensor.
    new loaded.Tensor('float32', [0], [1])
    return loaded
  })
  const Tensor = new Proxy(ort.Tensor, {
    construct(target, [type, data, dims]) {
      const isHalf = type === 'float16' && ArrayBuffer.isView(data)
      return Reflect.construct(target, [type, isHalf ? bits(data) : data, dims])
    },
  })
  return { env: ort.env, InferenceSession: ort.InferenceSession, Tensor }
}

function bits({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint16Array {
  return new Uint16Array(buffer, byteOffset, byteLength / 2)
}

async function withoutFloat16Array<T>(task: () => Promise<T>): Promise<T> {
  const own = Object.getOwnPropertyDescriptor(globalThis, 'Float16Array')
  if (!own?.configurable) return await task()
  Object.defineProperty(globalThis, 'Float16Array', { value: undefined, configurable: true })
  try {
    return await task()
  } finally {
    Object.defineProperty(globalThis, 'Float16Array', own)
  }
}
