import { expect, it } from 'vitest'
import { createInference } from '../../../functions/gateway/inference.ts'
import { ModelCatalog } from '../../../shared/models/catalog.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { refusal } from '../../conformance/expectations.ts'
import { identityModel } from '../../fixtures/models.ts'
import { memoryBlobs } from '../jobs/job_world.ts'

it('tells a caller whom a full queue refuses when to come back, and of jobs', async () => {
  const catalog = new ModelCatalog(memoryBlobs(), { clock: new FakeClock() })
  await catalog.push('m', '1', identityModel('float32'))
  const infer = createInference({
    catalog,
    route: () => {
      const error = new RpcError('resource_exhausted', 'Cannot queue the call: 2048 calls wait', { retryAfterMs: 700 })
      return Promise.reject(error)
    },
  })
  const error = await refusal(infer({
    model: 'm',
    inputs: { x: Tensor.from('float32', [1, 2], [1, 2]) },
    timeoutMs: 1_000,
    signal: new AbortController().signal,
    traceparent: '',
  }))
  expect([error.code, error.retryAfterMs]).toEqual(['resource_exhausted', 700])
  expect(error.message).toContain('POST /jobs')
  expect(error.details).toEqual([{ jobs: '/jobs' }])
})
