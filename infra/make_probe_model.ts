/**
 * Makes the model by which a device shows what it can do (shared/engine/probe.ts holds it as base64, since engines read no
 * ONNX).
 *
 *   node infra/make_probe_model.ts
 */
import { node, tensorInfo, writeModel } from '../shared/models/onnx.ts'

/** `a` [M, K], `b` [K, N] → `product` = a·b; `image` [1, C, H, W], `kernel` [F, C, 3, 3] → `picture` = relu(conv). Opset 17. */
export function makeProbe(): Uint8Array<ArrayBuffer> {
  return writeModel({
    irVersion: 8,
    opsetImport: [{ version: 17 }],
    graph: {
      name: 'probe',
      input: [
        tensorInfo('a', 'float32', ['M', 'K']),
        tensorInfo('b', 'float32', ['K', 'N']),
        tensorInfo('image', 'float32', [1, 4, 'H', 'W']),
        tensorInfo('kernel', 'float32', [8, 4, 3, 3]),
      ],
      output: [tensorInfo('product', 'float32', ['M', 'N']), tensorInfo('picture', 'float32', [1, 8, 'H', 'W'])],
      node: [
        node('MatMul', ['a', 'b'], ['product']),
        node('Conv', ['image', 'kernel'], ['edges'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
        node('Relu', ['edges'], ['picture']),
      ],
    },
  })
}

if (import.meta.main) console.log(btoa(String.fromCharCode(...makeProbe())))
