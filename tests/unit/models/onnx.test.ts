import { describe, it } from 'vitest'
import { onnxSuite } from './onnx_suite.ts'

describe(onnxSuite.name, () => {
  for (const [name, run] of Object.entries(onnxSuite.cases)) it(name, run)
})
