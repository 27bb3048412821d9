import { beforeAll, expect, it } from 'vitest'
import { Tensor } from '../../shared/wire/tensor.ts'
import { affine, affineModel, identityModel } from '../fixtures/models.ts'
import { refusal } from './expectations.ts'
import { ask, inferenceAt } from './gateway_http.ts'

const TURN = { weights: [[0, 1], [-1, 0]], bias: [1, 0] }

/** Models that run on their own outputs, step by step. */
export function generateCases(at: () => string): void {
  const push = (path: string, body: BodyInit, options: unknown) =>
    ask(at(), 'PUT', `/models/${path}`, {
      body,
      headers: { 'shoal-options': encodeURIComponent(JSON.stringify(options)) },
    })
  const start = () => ({ x: Tensor.from('float32', [1, 2], [1, 2]) })
  const expected = (steps: number) => {
    const rows = [[1, 2]]
    for (let i = 0; i < steps; i++) rows.push(affine(TURN, rows[i] ?? []))
    return rows.slice(1)
  }
  beforeAll(async () => {
    const feed = { y: 'x' }
    const pushed = await Promise.all([
      push('turning/versions/1', affineModel(TURN), { loop: { feed, maxSteps: 100 } }),
      push('counting/versions/1', affineModel({ weights: [[1]], bias: [1] }), {
        loop: { feed, maxSteps: 1000, stop: { output: 'y', equals: 5 } },
      }),
      push('still/versions/1', identityModel('float32'), {}),
    ])
    expect(pushed.map(({ status }) => status)).toEqual([200, 200, 200])
  })

  it('feed what they gave into what they take, and each step is an item', async () => {
    for (const codec of ['msgpack', 'json'] as const) {
      const seen: number[][] = []
      for await (
        const { step, outputs } of inferenceAt(at(), { codec }).generate({
          model: 'turning',
          inputs: start(),
          steps: 7,
        })
      ) {
        expect(step).toBe(seen.length)
        seen.push([...outputs.y?.data as Float32Array])
      }
      expect(seen).toEqual(expected(7))
    }
  })

  it('end at their stop value, or after all their steps', async () => {
    const steps = async (model: string, inputs: Record<string, Tensor>) => {
      let count = 0
      for await (const _ of inferenceAt(at()).generate({ model, inputs })) count++
      return count
    }
    expect(await steps('counting', { x: Tensor.from('float32', [1, 1], [0]) })).toBe(5)
    // Of a batch, all must have come to it.
    expect(await steps('turning', start())).toBe(100)
  })

  it('are server-sent events to whoever accepts them', async () => {
    const answer = await ask(at(), 'POST', '/rpc/shoal.Inference/generate', {
      json: { model: 'counting', inputs: { x: Tensor.from('float32', [1, 1], [3]) } },
      headers: { accept: 'text/event-stream' },
    })
    const items = [4, 5].map((value, step) =>
      `data: ${JSON.stringify({ step, outputs: { y: { $tensor: 'float32', shape: [1, 1], data: [value] } } })}\n\n`
    )
    expect(answer.text).toBe(`${items.join('')}event: end\ndata: {}\n\n`)
  })

  it('are refused without a loop, with too many steps, and with inputs that do not fit', async () => {
    const error = (input: { model: string; steps?: number; inputs?: Record<string, Tensor> }) =>
      refusal((async () => {
        for await (const _ of inferenceAt(at()).generate({ inputs: start(), ...input })) break
      })())
    expect(await error({ model: 'still' })).toMatchObject({ code: 'failed_precondition' })
    expect(await error({ model: 'turning', steps: 101 })).toMatchObject({ code: 'invalid_argument' })
    expect(await error({ model: 'turning', inputs: {} })).toMatchObject({ code: 'invalid_argument' })
    expect(await error({ model: 'nothing' })).toMatchObject({ code: 'not_found' })
    for (
      const [loop, message] of [
        [{ feed: { z: 'x' }, maxSteps: 1 }, /its outputs are y, got "z"/],
        [{ feed: { y: 'z' }, maxSteps: 1 }, /its inputs are x, got "z"/],
        [{ feed: { y: 'x' }, maxSteps: 1, stop: { output: 'q', equals: 0 } }, /got "q"/],
      ] as const
    ) {
      const { status, json } = await push('still/versions/2', identityModel('float32'), { loop })
      expect([status, json.detail]).toEqual([400, expect.stringMatching(message)])
    }
    const wrong = await push('still/versions/2', affineModel({ weights: [[1, 2]], bias: [0, 0] }), {
      loop: { feed: { y: 'x' }, maxSteps: 1 },
    })
    expect([wrong.status, wrong.json.detail]).toEqual([400, expect.stringMatching(/"y" must have the dtype and shape/)])
  })
}
