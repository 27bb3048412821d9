import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { seededRandom } from '../../../shared/base/random.ts'
import { areTensors, isName, name, tensors } from '../../../shared/contracts/fields.ts'
import { Inference } from '../../../shared/contracts/inference.ts'
import { plainly } from '../../../shared/contracts/plainly.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'

const x = Tensor.from('float32', [1], [1])
const ENTRIES: Record<string, readonly unknown[]> = {
  model: ['m', '', 'n'.repeat(256), 'n'.repeat(257), 7, undefined],
  version: ['1', '', null, undefined],
  inputs: [{ x }, {}, { x: 1 }, { ['k'.repeat(300)]: x }, null, [x], 'x', undefined],
  outputs: [{ y: x }, ['y'], { y: [1] }, undefined],
  priority: ['high', 'soon', undefined],
  other: [1, undefined],
}

/** Entries that are let through at a glance; beside them, any others. */
const USUAL = [['model', 'inputs'], ['model', 'version', 'outputs']]

/** What a schema says of a value: the issues' places, or the value. */
async function verdict(schema: z.ZodType, value: unknown) {
  const result = await schema['~standard'].validate(value)
  return result.issues ? result.issues.map(({ path }) => path?.join('.')) : result.value
}

describe('plainly', () => {
  it('says what the schema by itself says, of any value', async () => {
    const bare = {
      input: z.strictObject({ model: name, inputs: tensors, priority: z.enum(['high']).optional() }),
      output: z.object({ model: name, version: name, outputs: tensors }),
    }
    const quick = {
      input: plainly(bare.input, { model: isName, inputs: areTensors }),
      output: plainly(bare.output, { model: isName, version: isName, outputs: areTensors }),
    }
    const random = seededRandom(3)
    let accepted = 0
    for (let i = 0; i < 3_000; i++) {
      const value: Record<string, unknown> = {}
      const usual = USUAL[Math.floor(random() * 4)]
      for (const [key, values] of Object.entries(ENTRIES)) {
        const chosen = random() < 0.7 ? 0 : Math.floor(random() * values.length)
        if (usual ? usual.includes(key) : random() < 0.5) value[key] = values[chosen]
      }
      for (const side of ['input', 'output'] as const) {
        const said = await verdict(quick[side], value)
        expect(said).toEqual(await verdict(bare[side], value))
        if (said === value) accepted++
      }
    }
    // Else the look at first sight would never have been put to the test.
    expect(accepted).toBeGreaterThan(50)
  })

  it('leaves the schema what it is: it describes itself, and nests', () => {
    const described = z.toJSONSchema(Inference.methods.infer.input, { unrepresentable: 'any' })
    expect(described.properties).toHaveProperty('inputs')
    const nested = z.object({ call: Inference.methods.infer.input })
    expect(nested.parse({ call: { model: 'm', inputs: { x } } }).call.model).toBe('m')
    expect(nested.safeParse({ call: { model: 'm' } }).success).toBe(false)
  })
})
