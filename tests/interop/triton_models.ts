import { expect } from 'vitest'
import { ask } from '../conformance/gateway_http.ts'
import { identityModel, pairModel } from '../fixtures/models.ts'

/** The models that Triton's client is tried on. */
export async function pushTritonModels(url: string): Promise<void> {
  const labels = { 'shoal-labels': 'cat,dog,fish' }
  const pushed = await Promise.all([
    ask(url, 'PUT', '/models/t-pair/versions/1', { body: pairModel() }),
    ask(url, 'PUT', '/models/t-text/versions/1', { body: identityModel('string') }),
    ask(url, 'PUT', '/models/t-labelled/versions/1', { body: identityModel('float32', ['N', 3]), headers: labels }),
  ])
  expect(pushed.map(({ status }) => status)).toEqual([200, 200, 200])
}
