import { assert } from 'chai'
import { encodeUtf8, readAll } from '../../shared/base/bytes.ts'
import { seededRandom } from '../../shared/base/random.ts'
import type { BlobStore } from '../../shared/models/blob_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { Suite } from '../suite.ts'

/** An empty store; `close` removes whatever it kept. */
export type OpenBlobStore = () => Promise<{ store: BlobStore; close(): Promise<void> }>

/** What every blob store must do. Each case gets an empty store. */
export function blobStoreSuite(name: string, open: OpenBlobStore): Suite {
  const withStore = (run: (store: BlobStore) => Promise<void>) => async () => {
    const { store, close } = await open()
    try {
      await run(store)
    } finally {
      await close()
    }
  }
  const read = async (store: BlobStore, key: string): Promise<Uint8Array | undefined> => {
    const found = await store.open(key)
    if (!found) return undefined
    const bytes = await readAll(found.stream, Infinity)
    assert.equal(bytes?.length, found.size)
    return bytes
  }
  const text = async (store: BlobStore, key: string) => {
    const bytes = await read(store, key)
    return bytes && new TextDecoder().decode(bytes)
  }

  const cases: Suite['cases'] = {
    'what is put is read back, and replaced by the next put': withStore(async (store) => {
      await store.put('a/b.json', encodeUtf8('one'))
      assert.equal(await text(store, 'a/b.json'), 'one')
      await store.put('a/b.json', encodeUtf8('and two'))
      assert.equal(await text(store, 'a/b.json'), 'and two')
    }),

    'an empty object is an object': withStore(async (store) => {
      await store.put('empty', new Uint8Array(0))
      assert.equal((await read(store, 'empty'))?.length, 0)
      assert.deepEqual(await store.list(''), ['empty'])
    }),

    'large objects keep every byte': withStore(async (store) => {
      const random = seededRandom(3)
      const bytes = Uint8Array.from({ length: 1_000_003 }, () => Math.floor(random() * 256))
      // A view: what lies around it in its buffer must not be written.
      await store.put('large', new Uint8Array(bytes.buffer, 1, 1_000_000))
      assert.deepEqual(await read(store, 'large'), bytes.slice(1, 1_000_001))
    }),

    'a missing object is undefined': withStore(async (store) => {
      assert.isUndefined(await store.open('missing'))
      await store.put('folder/object', encodeUtf8('x'))
      assert.isUndefined(await store.open('folder'), 'a folder')
      assert.isUndefined(await store.open('folder/object/below'), 'below an object')
    }),

    'putIfAbsent writes once': withStore(async (store) => {
      assert.isTrue(await store.putIfAbsent('k', encodeUtf8('first')))
      assert.isFalse(await store.putIfAbsent('k', encodeUtf8('second')))
      assert.equal(await text(store, 'k'), 'first')
      await store.delete('k')
      assert.isTrue(await store.putIfAbsent('k', encodeUtf8('third')))
      assert.equal(await text(store, 'k'), 'third')
    }),

    'of many who putIfAbsent at once, one wins, and its bytes stay': withStore(async (store) => {
      const writers = Array.from({ length: 8 }, (_, i) => `writer ${i} `.repeat(2000))
      const wrote = await Promise.all(writers.map((value) => store.putIfAbsent('race', encodeUtf8(value))))
      assert.lengthOf(wrote.filter(Boolean), 1)
      assert.equal(await text(store, 'race'), writers[wrote.indexOf(true)])
    }),

    'puts at once leave one of them whole': withStore(async (store) => {
      const values = Array.from({ length: 8 }, (_, i) => `${i}`.repeat(100_000 + i))
      await Promise.all(values.map((value) => store.put('contended', encodeUtf8(value))))
      assert.include(values, await text(store, 'contended'))
    }),

    'list gives the keys with a prefix, sorted, and nothing else': withStore(async (store) => {
      const keys = ['models/b/1.json', 'models/a/10.json', 'models/a/2.json', 'models/ab/1.json', 'blobs/00', 'modelsx']
      for (const key of keys) await store.put(key, encodeUtf8(key))
      assert.deepEqual(await store.list(''), [...keys].sort())
      assert.deepEqual(await store.list('models/a/'), ['models/a/10.json', 'models/a/2.json'])
      assert.deepEqual(await store.list('models/a'), ['models/a/10.json', 'models/a/2.json', 'models/ab/1.json'])
      assert.deepEqual(await store.list('models'), [...keys].filter((key) => key.startsWith('models')).sort())
      assert.deepEqual(await store.list('none/'), [])
      assert.deepEqual(await store.list('models/a/2.json/'), [])
      await store.delete('models/a/2.json')
      assert.deepEqual(await store.list('models/a/'), ['models/a/10.json'])
    }),

    'an empty store lists nothing': withStore(async (store) => {
      assert.deepEqual(await store.list(''), [])
      assert.deepEqual(await store.list('models/'), [])
    }),

    'delete removes one object, and a missing one is no error': withStore(async (store) => {
      await store.put('a/one', encodeUtf8('1'))
      await store.put('a/two', encodeUtf8('2'))
      await store.delete('a/one')
      await store.delete('a/one')
      await store.delete('never/there')
      await store.delete('a')
      assert.isUndefined(await store.open('a/one'))
      assert.equal(await text(store, 'a/two'), '2')
    }),

    'a stream may be cancelled before its end, and the object replaced meanwhile': withStore(async (store) => {
      const old = encodeUtf8('old'.repeat(500_000))
      await store.put('streamed', old)
      const first = await store.open('streamed')
      await store.put('streamed', encodeUtf8('new'))
      await first?.stream.cancel()
      const reader = (await store.open('streamed'))?.stream.getReader()
      await reader?.read()
      await reader?.cancel()
      assert.equal(await text(store, 'streamed'), 'new')
    }),

    'a part of an object is read alone, and tells how large the whole is': withStore(async (store) => {
      const bytes = Uint8Array.from({ length: 600_000 }, (_, i) => i * 31 % 251)
      await store.put('parts', bytes)
      for (const [offset, length] of [[0, 1], [1, 300_000], [299_999, 300_001], [599_999, 1], [0, 600_000]] as const) {
        const found = await store.open('parts', { offset, length })
        assert.equal(found?.size, bytes.length)
        const part = found && await readAll(found.stream, Infinity)
        assert.deepEqual(part, bytes.slice(offset, offset + length))
      }
      assert.isUndefined(await store.open('missing', { offset: 0, length: 1 }))
      const left = await store.open('parts', { offset: 5, length: 10 })
      await left?.stream.cancel()
      await store.delete('parts')
      assert.isUndefined(await store.open('parts', { offset: 0, length: 1 }))
    }),

    'no key leaves the store': withStore(async (store) => {
      const bad = [
        '',
        '/',
        '/etc/passwd',
        '..',
        '../x',
        'a/../../x',
        'a/./b',
        'a//b',
        'a/',
        '/a',
        'a\\b',
        'a b',
        'ä',
        'a\0',
        '~',
      ]
      for (const key of [...bad, 'k'.repeat(251), 'k/'.repeat(600) + 'k']) {
        const attempts = [
          () => store.put(key, encodeUtf8('x')),
          () => store.putIfAbsent(key, encodeUtf8('x')),
          () => store.open(key),
          () => store.delete(key),
        ]
        for (const attempt of attempts) {
          const error = await attempt().then(() => undefined, (thrown) => thrown)
          assert.instanceOf(error, RpcError, `key ${JSON.stringify(key)}`)
          assert.equal(error.code, 'invalid_argument')
        }
      }
      const error = await store.list('../').then(() => undefined, (thrown) => thrown)
      assert.instanceOf(error, RpcError)
      assert.deepEqual(await store.list(''), [])
    }),
  }
  return { name, cases }
}
