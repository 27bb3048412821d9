import { embeddedSuites } from './stores_embedded.ts'
import { register } from './vitest_suite.ts'

embeddedSuites.forEach(register)
