import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildEvaluationGraph, buildStepGraph, type StepOptions } from '../../../shared/training/step_graph.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { batchOf, cnnTask, groupedTask, mlpTask, type ToyTask, transformerTask } from './toy_tasks.ts'
import { run, type Tensors } from './wasm.ts'
import { openWebgpuPage, type WebgpuPage } from './webgpu_page.ts'

let page: WebgpuPage
beforeAll(async () => {
  page = await openWebgpuPage()
})
afterAll(async () => {
  await page[Symbol.asyncDispose]()
})

const TASKS = { mlp: mlpTask, cnn: cnnTask, transformer: transformerTask, 'grouped convolutions': groupedTask }
// Of 6 rows, which is a multiple of 3 and not of 4: in the gradient of a convolution's weights rows stand for channels.
const ROWS = 6
/** A software adapter compiles shaders on the CPU: seconds alone, more beside other tests. */
const TIMEOUT_MS = 120_000

function feeds(task: ToyTask, initial: Float32Array): Tensors {
  return {
    'shoal.parameters': Tensor.from('float32', [initial.length], initial),
    ...batchOf(task, [0, 1, 2, 3, 4], ROWS),
  }
}

describe('on WebGPU in Chromium, with no node on the CPU', () => {
  for (const [name, task] of Object.entries(TASKS)) {
    it(`the step of the ${name} is that of WASM, in every parameter`, async () => {
      const graph = await buildStepGraph({ model: task.model, loss: task.loss, batch: ROWS, run })
      const inputs = feeds(task, graph.initial)
      const expected = (await run(graph.bytes, inputs))['shoal.step']?.data as Float32Array
      const found = (await page.run(graph.bytes, inputs))['shoal.step']?.data as Float32Array
      expect(found.length).toBe(graph.output.length)
      const sums = graph.parameterCount
      for (const { name, offset, size } of [...graph.parameters, { name: 'loss', offset: sums, size: 2 }]) {
        const [left, right] = [expected, found].map((all) => Array.from(all.subarray(offset, offset + size)))
        const scale = Math.max(...(left ?? []).map(Math.abs))
        for (const [i, value] of (left ?? []).entries()) {
          expect(Math.abs(value - (right?.[i] ?? NaN)), name).toBeLessThanOrEqual(1e-5 * scale)
        }
      }
    }, TIMEOUT_MS)
  }

  it('the evaluation is that of WASM', async () => {
    const options: StepOptions = { model: mlpTask.model, loss: mlpTask.loss, batch: ROWS, run }
    const { initial } = await buildStepGraph(options)
    const { bytes } = await buildEvaluationGraph(options)
    const inputs = feeds(mlpTask, initial)
    const [loss = NaN, correct, n] = (await run(bytes, inputs))['shoal.evaluation']?.data as Float32Array
    const found = (await page.run(bytes, inputs))['shoal.evaluation']?.data as Float32Array
    expect(Math.abs((found[0] ?? NaN) - loss)).toBeLessThanOrEqual(1e-5 * loss)
    expect([found[1], found[2]]).toEqual([correct, n])
  }, TIMEOUT_MS)

  it('a node without a GPU kernel would be refused, so the above means something', async () => {
    const options: StepOptions = { model: cnnTask.model, loss: cnnTask.loss, batch: ROWS, run }
    const { initial } = await buildStepGraph(options)
    const { bytes } = await buildEvaluationGraph(options)
    // Sign has a kernel on the CPU alone, and a name as long as that of Relu.
    const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
    const spoiled = Uint8Array.from(text.replace('Relu', 'Sign'), (char) => char.charCodeAt(0))
    expect(spoiled).not.toEqual(bytes)
    const inputs = {
      'shoal.parameters': Tensor.from('float32', [initial.length], initial),
      ...batchOf(cnnTask, [0], ROWS),
    }
    await expect(page.run(spoiled, inputs)).rejects.toThrow(/fallback to CPU EP has been explicitly disabled/)
  }, TIMEOUT_MS)
})
