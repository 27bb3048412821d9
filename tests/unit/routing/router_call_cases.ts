import { assert } from 'chai'
import { sleep } from '../../../shared/base/clock.ts'
import type { RpcResponse } from '../../../shared/rpc/send.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'
import { answer, codeOf, gone, RouterBench } from './router_bench.ts'

/** One call on its way, and what is learnt of it. */
export const callCases: Suite['cases'] = {
  'an answer tells how many attempts it took, beside its own metadata': async () => {
    const bench = new RouterBench(instances(3))
    const first = await bench.call() as RpcResponse
    assert.deepEqual(first.metadata, { from: bench.ids[0] ?? '', 'shoal-attempts': '1' })
    let failures = 2
    bench.serve = (id) => failures-- > 0 ? Promise.reject(gone()) : Promise.resolve(answer(id))
    const third = await bench.call() as RpcResponse
    assert.equal(third.metadata['shoal-attempts'], '3')
    bench.close()
  },

  'streams are spread while they last, and forgotten when they end, are left, or lose their caller': async () => {
    const bench = new RouterBench(instances(2))
    bench.serve = () => {
      const payloads = (async function* () {
        for (let n = 0; n < 3; n++) yield encodePayload(n, 'tensors')
      })()
      return Promise.resolve({ kind: 'stream', metadata: {}, payloads })
    }
    const gone = new AbortController()
    const open = async () => {
      const before = bench.ids.length
      const streams: AsyncIterable<unknown>[] = []
      for (let i = 0; i < 10; i++) {
        const response = await bench.call({ stream: true, signal: gone.signal }) as RpcResponse
        if (response.kind === 'stream') streams.push(response.payloads)
      }
      const counts = bench.ids.slice(before).reduce((sum, id) => sum + (id === 'i0' ? 1 : -1), 0)
      // Each goes where fewer are. (From twenty on, one more or less is within the picker's noise.)
      assert.isAtMost(Math.abs(counts), 1)
      return streams
    }
    const [first = [], second = []] = [await open(), await open()]
    for (const [i, stream] of [...first, ...second].entries()) {
      if (i % 3 === 0) { for await (const _ of stream) { /* to its end */ } }
      if (i % 3 === 1) { for await (const _ of stream) break }
    }
    gone.abort()
    bench.close()
  },

  'what was learnt of one service is not lost when another is called': async () => {
    const slow = [instance('slow'), instance('quick'), instance('quick too')]
    const bench = new RouterBench([...slow, instance('x', { service: 'demo.Other' })])
    bench.serve = async (id) => {
      await sleep(bench.clock, id === 'slow' ? 1_000 : 1)
      return answer(id)
    }
    for (let i = 0; i < 30; i++) {
      await bench.call()
      await bench.call({ service: 'demo.Other' })
    }
    // Each is tried once while nothing is known; then the slow one must wait for its average to decay.
    assert.isAtMost(bench.ids.filter((id) => id === 'slow').length, 1)
  },

  'an instance that fails fast does not attract calls': async () => {
    const bench = new RouterBench(instances(5))
    bench.serve = async (id) => {
      if (id === 'i0') throw new RpcError('internal', 'Cannot')
      await sleep(bench.clock, 20)
      return answer(id)
    }
    let failed = 0
    for (let i = 0; i < 100; i++) if (codeOf(await bench.call()) !== 'ok') failed++
    // Five in a row, and it is left out for longer than this lasts.
    assert.isAtMost(failed, 5)
  },

  'streams and their metadata pass through': async () => {
    const bench = new RouterBench(instances(1))
    async function* payloads() {
      yield { codec: 'tensors' as const, structure: 1, parts: [] }
    }
    bench.serve = () => Promise.resolve({ kind: 'stream', metadata: {}, payloads: payloads() })
    const response = await bench.call({ stream: true }) as RpcResponse
    assert.equal(response.kind, 'stream')
    assert.equal(response.metadata['shoal-attempts'], '1')
  },
}
