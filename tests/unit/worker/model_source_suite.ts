import { assert } from 'chai'
import { type Bytes, encodeUtf8, sha256Hex } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { httpModels, type ModelCache } from '../../../shared/worker/model_source.ts'
import type { Suite } from '../../suite.ts'

const MODEL = encodeUtf8('weights and more weights')
const { signal: never } = new AbortController()

/** A gateway that answers as the test says, and what it was asked. */
function gateway(answer: (request: Request) => Response | Promise<Response>) {
  const asked: { url: string; authorization: string | null; redirect: string }[] = []
  const fetch = async (request: Request) => {
    asked.push({ url: request.url, authorization: request.headers.get('authorization'), redirect: request.redirect })
    return await answer(request)
  }
  return { asked, fetch }
}

function memoryCache(): ModelCache & { held: Map<string, Bytes> } {
  const held = new Map<string, Bytes>()
  return {
    held,
    get: (sha256) => Promise.resolve(held.get(sha256)),
    put: (sha256, bytes) => Promise.resolve(void held.set(sha256, bytes)),
  }
}

async function failure(work: Promise<unknown>): Promise<RpcError> {
  try {
    await work
  } catch (thrown) {
    assert.instanceOf(thrown, RpcError)
    return thrown as RpcError
  }
  throw new Error('Expected a failure')
}

export const modelSourceSuite: Suite = {
  name: 'worker: model source',
  cases: {
    'a model comes from the gateway, with the worker’s credentials': async () => {
      const sha256 = await sha256Hex(MODEL)
      for (const base of ['https://gateway.example', 'https://gateway.example/']) {
        const { asked, fetch } = gateway(() => new Response(MODEL))
        const source = httpModels(base, { fetch, headers: { authorization: 'Bearer key' } })
        assert.deepEqual([...await source.get(sha256, never)], [...MODEL])
        assert.deepEqual(asked, [{
          url: `https://gateway.example/blobs/${sha256}`,
          authorization: 'Bearer key',
          redirect: 'manual',
        }])
      }
    },

    'it is cached, and the cache is believed only as far as its bytes': async () => {
      const sha256 = await sha256Hex(MODEL)
      const { asked, fetch } = gateway(() => new Response(MODEL))
      const cache = memoryCache()
      const source = httpModels('https://gateway.example', { fetch, cache })
      await source.get(sha256, never)
      await source.get(sha256, never)
      assert.equal(asked.length, 1)
      cache.held.set(sha256, encodeUtf8('something else'))
      assert.deepEqual([...await source.get(sha256, never)], [...MODEL])
      assert.equal(asked.length, 2)
      assert.deepEqual([...cache.held.get(sha256) ?? []], [...MODEL], 'the bad copy is replaced')
    },

    'a cache that fails costs a download, and no more': async () => {
      const { asked, fetch } = gateway(() => new Response(MODEL))
      const cache: ModelCache = {
        get: () => Promise.reject(new Error('forbidden')),
        put: () => Promise.reject(new Error('quota')),
      }
      const source = httpModels('https://gateway.example', { fetch, cache })
      assert.deepEqual([...await source.get(await sha256Hex(MODEL), never)], [...MODEL])
      assert.equal(asked.length, 1)
    },

    'bytes of another hash are data loss, and are not kept': async () => {
      const { fetch } = gateway(() => new Response('evil weights'))
      const cache = memoryCache()
      const error = await failure(httpModels('https://gateway.example', { fetch, cache }).get('a'.repeat(64), never))
      assert.equal(error.code, 'data_loss')
      assert.include(error.message, `must be ${'a'.repeat(64)}, got ${await sha256Hex(encodeUtf8('evil weights'))}`)
      assert.equal(cache.held.size, 0)
    },

    'an error of the gateway is told as it is': async () => {
      const { fetch } = gateway(() => {
        return Response.json({ code: 'not_found', message: 'Cannot find the blob' }, { status: 404 })
      })
      const error = await failure(httpModels('https://gateway.example', { fetch }).get('a'.repeat(64), never))
      assert.deepEqual([error.code, error.message], ['not_found', 'Cannot find the blob'])
      const { fetch: proxy } = gateway(() => new Response('bad gateway', { status: 502 }))
      const other = await failure(httpModels('https://gateway.example', { fetch: proxy }).get('a'.repeat(64), never))
      assert.equal(other.code, 'unavailable')
    },

    'a redirect is not followed: credentials would go along': async () => {
      const { asked, fetch } = gateway(() =>
        new Response(null, { status: 302, headers: { location: 'https://evil.example/' } })
      )
      await failure(httpModels('https://gateway.example', { fetch }).get('a'.repeat(64), never))
      assert.deepEqual(asked.map(({ redirect }) => redirect), ['manual'])
    },

    'a gateway that cannot be reached, or is cut off in the middle, is unavailable': async () => {
      const { fetch: down } = gateway(() => Promise.reject(new TypeError('fetch failed')))
      assert.equal(
        (await failure(httpModels('https://g.example', { fetch: down }).get('a'.repeat(64), never))).code,
        'unavailable',
      )
      const { fetch: cut } = gateway(() =>
        new Response(
          new ReadableStream({
            pull(controller) {
              controller.enqueue(MODEL)
              controller.error(new TypeError('terminated'))
            },
          }),
        )
      )
      assert.equal(
        (await failure(httpModels('https://g.example', { fetch: cut }).get('a'.repeat(64), never))).code,
        'unavailable',
      )
    },

    'a download that was cut off goes on where it ended, and tells how far it is': async () => {
      const asked: (string | null)[] = []
      const progress: string[] = []
      const { fetch } = gateway((request) => {
        const range = request.headers.get('range')
        asked.push(range)
        const from = Number(/\d+/.exec(range ?? '')?.[0] ?? 0)
        let sent = false
        const stream = new ReadableStream<Uint8Array>({
          pull(controller) {
            if (sent) return controller.error(new TypeError('terminated'))
            sent = true
            controller.enqueue(MODEL.subarray(from, from + 8))
            if (from + 8 === MODEL.byteLength) controller.close()
          },
        }, { highWaterMark: 0 })
        const headers = { 'content-length': String(MODEL.byteLength - from) }
        return new Response(stream, { status: range ? 206 : 200, headers })
      })
      const source = httpModels('https://g.example', {
        fetch,
        onProgress: (bytes, total) => progress.push(`${bytes}/${total}`),
      })
      assert.deepEqual(await source.get(await sha256Hex(MODEL), never), MODEL)
      assert.deepEqual(asked.slice(0, 3), [null, 'bytes=8-', 'bytes=16-'])
      assert.equal(progress.at(-1), `${MODEL.byteLength}/${MODEL.byteLength}`)
    },

    'a body longer than any model is given up as soon as it is': async () => {
      let sent = 0
      const chunk = new Uint8Array(2 ** 20)
      const { fetch } = gateway(() =>
        new Response(
          new ReadableStream({
            pull(controller) {
              sent += chunk.byteLength
              controller.enqueue(chunk)
            },
          }),
        )
      )
      const error = await failure(httpModels('https://g.example', { fetch }).get('a'.repeat(64), never))
      assert.equal(error.code, 'resource_exhausted')
      assert.isAtMost(sent, LIMITS.maxModelBytes + 4 * chunk.byteLength)
    },

    'who gives up is told so, and the download ends': async () => {
      const reasons = [
        [new RpcError('deadline_exceeded', 'Cannot finish the call: too late'), 'deadline_exceeded'],
        [undefined, 'canceled'],
      ] as const
      for (const [reason, code] of reasons) {
        const gone = new AbortController()
        let heard = false
        const { fetch } = gateway((request) =>
          new Promise((_, reject) => {
            request.signal.addEventListener('abort', () => {
              heard = true
              reject(new TypeError('terminated'))
            })
          })
        )
        const got = failure(httpModels('https://g.example', { fetch }).get('a'.repeat(64), gone.signal))
        await new Promise((resolve) => setTimeout(resolve, 1))
        gone.abort(reason)
        assert.equal((await got).code, code)
        assert.isTrue(heard)
      }
    },
  },
}
