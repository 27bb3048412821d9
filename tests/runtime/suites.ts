import type { Suite } from '../suite.ts'
import { dtypeSuite } from '../unit/wire/dtype_suite.ts'
import { errorsSuite } from '../unit/wire/errors_suite.ts'
import { tensorSuite } from '../unit/wire/tensor_suite.ts'

/** The suites that run on Node, Deno, workerd and Chromium alike. */
export const suites: readonly Suite[] = [dtypeSuite, errorsSuite, tensorSuite]
