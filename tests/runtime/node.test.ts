import { describe, it } from 'vitest'
import { suites } from './suites.ts'

describe('node', () => {
  for (const suite of suites) {
    describe(suite.name, () => {
      for (const [name, run] of Object.entries(suite.cases)) it(name, run)
    })
  }
})
