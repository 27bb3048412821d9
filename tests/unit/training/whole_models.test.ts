import { describe, expect, it } from 'vitest'
import { buildStepGraph } from '../../../shared/training/step_graph.ts'
import { checkDirections, checkPortable, parametersOf } from './check_graph.ts'
import { batchOf, cnnTask, mlpTask, type ToyTask, transformerTask } from './toy_tasks.ts'
import { open, run } from './wasm.ts'

describe('whole models', () => {
  const tasks: Record<string, ToyTask> = { mlp: mlpTask, cnn: cnnTask, transformer: transformerTask }
  for (const [name, task] of Object.entries(tasks)) {
    const options = { loss: task.loss, batch: 6 }

    it(`${name}: the gradient is the slope of the loss in every parameter`, async () => {
      const graph = await checkDirections(task.model, options, batchOf(task, [0, 1, 2, 3, 4, 5], 6))
      checkPortable(graph.bytes)
    })

    it(`${name}: rows that fill up a batch add exactly nothing, whatever they hold`, async () => {
      const graph = await buildStepGraph({ model: task.model, run, ...options })
      await using session = await open(graph.bytes)
      const results = []
      for (const filler of [0, 40, 99]) {
        const output = await session.run({ ...batchOf(task, [7, 8, 9, 10], 6, filler), ...parametersOf(graph.initial) })
        results.push(Array.from(output['shoal.step']?.data as Float32Array))
      }
      expect(results[1]).toEqual(results[0])
      expect(results[2]).toEqual(results[0])

      const small = await buildStepGraph({ model: task.model, run, ...options, batch: 4 })
      const output = await run(small.bytes, { ...batchOf(task, [7, 8, 9, 10], 4), ...parametersOf(graph.initial) })
      const alone = Array.from(output['shoal.step']?.data as Float32Array)
      expect(alone.at(-1)).toBe(results[0]?.at(-1))
      // Other sizes are summed in other orders.
      for (const [i, value] of alone.entries()) expect(Math.abs(value - (results[0]?.[i] ?? NaN))).toBeLessThan(1e-5)
    })
  }
})
