import type { Suite } from '../suite.ts'
import { poolBatchSuite } from '../unit/pool/batch_suite.ts'
import { poolDispatchSuite } from '../unit/pool/dispatch_suite.ts'
import { joinSuite } from '../unit/pool/join_suite.ts'
import { poolLossSuite } from '../unit/pool/loss_suite.ts'
import { poolOverflowSuite } from '../unit/pool/overflow_suite.ts'
import { dtypeSuite } from '../unit/wire/dtype_suite.ts'
import { errorsSuite } from '../unit/wire/errors_suite.ts'
import { tensorSuite } from '../unit/wire/tensor_suite.ts'

/** The suites that run on Node, Deno, workerd and Chromium alike. */
export const suites: readonly Suite[] = [
  dtypeSuite,
  errorsSuite,
  tensorSuite,
  joinSuite,
  poolDispatchSuite,
  poolBatchSuite,
  poolLossSuite,
  poolOverflowSuite,
]
