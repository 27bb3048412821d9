import { expect, it } from 'vitest'
import { systemClock } from '../../../shared/base/clock.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { answerRpc, createRpcServing } from '../../../functions/gateway/rpc_answer.ts'
import type { GatewayDeps } from '../../../functions/gateway/deps.ts'
import type { InferCall } from '../../../functions/gateway/inference.ts'

it('a call is known by its key, whatever its headers say', async () => {
  const seen: InferCall[] = []
  const infer: GatewayDeps['infer'] = (call) => {
    seen.push(call)
    return Promise.reject(new Error('far enough'))
  }
  const deps = { infer, clock: systemClock, metrics: new Metrics(), log: silentLog } as unknown as GatewayDeps
  const serving = createRpcServing(deps)
  const ask = () =>
    new Request('http://127.0.0.1/rpc/shoal.Inference/infer', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'shoal-caller': 'forged', 'x-shoal-caller': 'forged' },
      body: JSON.stringify({ model: 'm', inputs: {} }),
    })
  await answerRpc(serving, ask(), 'shoal.Inference', 'infer', 'key_1')
  await answerRpc(serving, ask(), 'shoal.Inference', 'infer', undefined)
  expect(seen.map(({ caller }) => caller)).toEqual(['key_1', undefined])
})
