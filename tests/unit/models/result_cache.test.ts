import { describe, expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { ResultCache } from '../../../shared/models/result_cache.ts'
import type { ModelManifest } from '../../../shared/wire/signature.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'

const manifest = (more: Partial<ModelManifest> = {}): ModelManifest => ({
  name: 'm',
  version: '1',
  sha256: 'a'.repeat(64),
  bytes: 1,
  signature: { inputs: [], outputs: [], batchable: true },
  opset: 17,
  createdAt: '',
  cache: { ttlMs: 1000, maxBytes: 10_000 },
  ...more,
})

function open(shares = true) {
  const clock = new FakeClock(0)
  const metrics = new Metrics()
  const cache = new ResultCache({ clock, metrics, shares })
  let runs = 0
  const ask = (
    value: number,
    { of = manifest(), caller, signal = new AbortController().signal, size = 1, wait = Promise.resolve() }: {
      of?: ModelManifest
      caller?: string
      signal?: AbortSignal
      size?: number
      wait?: Promise<void>
    } = {},
  ) =>
    cache.get(of, { inputs: { x: Tensor.from('float32', [1], [value]) }, caller, signal }, async (cancel) => {
      runs++
      await Promise.race([
        wait,
        new Promise((_, reject) => cancel.addEventListener('abort', () => reject(cancel.reason))),
      ])
      return { outputs: { y: Tensor.from('float32', [size], new Float32Array(size).fill(value)) } }
    })
  return { clock, metrics, ask, runs: () => runs }
}

type Outcome = 'hit' | 'shared' | 'miss'

/**
 * Until so many calls have found out what they get. Keys are hashed on other threads, which may end in any order: calls
 * whose order matters wait for each other here.
 */
async function counted(metrics: Metrics, outcome: Outcome, calls: number): Promise<void> {
  const line = `shoal_result_cache_calls_total{outcome="${outcome}"} ${calls}\n`
  while (!metrics.render().includes(line)) await new Promise((resolve) => setTimeout(resolve, 1))
}

describe('result cache', () => {
  it('keeps an answer for its time, and tells models, callers and inputs apart', async () => {
    const { clock, ask, runs } = open()
    expect((await ask(1)).outcome).toBe('miss')
    expect((await ask(1)).outcome).toBe('hit')
    expect((await ask(1, { caller: 'b' })).outcome).toBe('miss')
    expect((await ask(2)).outcome).toBe('miss')
    expect((await ask(1, { of: manifest({ sha256: 'b'.repeat(64) }) })).outcome).toBe('miss')
    expect(runs()).toBe(4)
    await clock.advance(999)
    const { outcome, outputs } = await ask(1)
    expect([outcome, outputs.y?.data]).toEqual(['hit', Float32Array.of(1)])
    await clock.advance(1)
    expect((await ask(1)).outcome).toBe('miss')
  })

  it('holds no more than its bounds, the least recently used going first', async () => {
    const { metrics, ask } = open()
    const of = manifest({ cache: { ttlMs: 1000, maxBytes: 3 * (512 + 400) } })
    for (const value of [1, 2, 3]) await ask(value, { of, size: 100 })
    await ask(1, { of, size: 100 })
    await ask(4, { of, size: 100 })
    const outcomes = []
    for (const value of [1, 3, 4, 2]) outcomes.push((await ask(value, { of, size: 100 })).outcome)
    expect(outcomes).toEqual(['hit', 'hit', 'hit', 'miss'])
    expect(metrics.render()).toContain(`shoal_result_cache_bytes ${3 * (512 + 400)}`)
    // One that would not fit alone is not kept, and costs the others nothing.
    await ask(9, { of, size: 10_000 })
    expect((await ask(9, { of, size: 10_000 })).outcome).toBe('miss')
    expect((await ask(4, { of, size: 100 })).outcome).toBe('hit')
  })

  it('lets calls that ask the same at once share one run', async () => {
    const { metrics, ask, runs } = open()
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = ask(1, { wait: promise })
    await counted(metrics, 'miss', 1)
    const calls = [first, ask(1), ask(1)]
    await counted(metrics, 'shared', 2)
    resolve()
    expect((await Promise.all(calls)).map(({ outcome }) => outcome)).toEqual(['miss', 'shared', 'shared'])
    expect(runs()).toBe(1)
  })

  it('shares nothing where requests cannot wait for each other', async () => {
    const { metrics, ask, runs } = open(false)
    const { promise, resolve } = Promise.withResolvers<void>()
    const calls = [ask(1, { wait: promise }), ask(1, { wait: promise })]
    await counted(metrics, 'miss', 2)
    resolve()
    expect((await Promise.all(calls)).map(({ outcome }) => outcome)).toEqual(['miss', 'miss'])
    expect(runs()).toBe(2)
    expect((await ask(1)).outcome).toBe('hit')
  })

  it('goes on for the rest when the first who asked leaves, and ends when all have', async () => {
    const { metrics, ask, runs } = open()
    const { promise, resolve } = Promise.withResolvers<void>()
    const leaving = new AbortController()
    const first = ask(1, { wait: promise, signal: leaving.signal })
    await counted(metrics, 'miss', 1)
    const second = ask(1)
    await counted(metrics, 'shared', 1)
    leaving.abort(new Error('left'))
    await expect(first).rejects.toThrow(/cancelled/)
    resolve()
    expect((await second).outputs.y?.data).toEqual(Float32Array.of(1))
    expect(runs()).toBe(1)

    const both = new AbortController()
    const gone = [2, 2].map((value) => ask(value, { wait: new Promise(() => {}), signal: both.signal }))
    await counted(metrics, 'shared', 2)
    both.abort(new Error('left'))
    for (const call of gone) await expect(call).rejects.toThrow(/cancelled/)
    // Nobody is bound to what was given up.
    expect((await ask(2)).outcome).toBe('miss')
    expect(runs()).toBe(3)
  })

  it('keeps no failure', async () => {
    const { metrics, ask } = open()
    const { promise, reject } = Promise.withResolvers<void>()
    const failed = expect(ask(1, { wait: promise })).rejects.toThrow('failed')
    await counted(metrics, 'miss', 1)
    reject(new Error('failed'))
    await failed
    expect((await ask(1)).outcome).toBe('miss')
  })
})
