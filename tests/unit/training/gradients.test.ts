import { describe, expect, it } from 'vitest'
import { CASES } from './gradient_cases.ts'
import { differences, referenceOf } from './gradient_check.ts'

describe('each operator agrees with ONNX Runtime, and its gradient with central differences', () => {
  for (const one of CASES) {
    it(one.title, async () => {
      const errors = await differences(one, await referenceOf(one))
      expect(Object.keys(errors).length).toBeGreaterThan(1)
      for (const [what, error] of Object.entries(errors)) expect(error, what).toBeLessThanOrEqual(one.tolerance)
    })
  }
})
