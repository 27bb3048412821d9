import { assert } from 'chai'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'vitest'
import { readAll, sha256Hex } from '../../../shared/base/bytes.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import type { BlobStore } from '../../../shared/models/blob_store.ts'
import { ModelCatalog } from '../../../shared/models/catalog.ts'
import { FileBlobStore } from '../../../shared/models/file_blob_store.ts'
import { readSignature } from '../../../shared/models/signature.ts'
import { affineModel, fixedModel, identityModel, modelOf } from '../../fixtures/models.ts'
import { tensorInfo } from '../../../shared/models/onnx.ts'
import { assertRejects } from './refusal.ts'

const model = identityModel('float32')
const other = fixedModel()

let root: string
/** Reads that reached the store: `open` and `list`. */
let reads: number
let broken: Error | undefined
let store: BlobStore
let clock: FakeClock
let catalog: ModelCatalog

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'shoal-catalog-'))
  const files = new FileBlobStore(root)
  const counted = <T>(read: () => Promise<T>): Promise<T> => {
    reads++
    return broken ? Promise.reject(broken) : read()
  }
  store = {
    put: (key, bytes) => files.put(key, bytes),
    putIfAbsent: (key, bytes) => files.putIfAbsent(key, bytes),
    open: (key, range) => counted(() => files.open(key, range)),
    list: (prefix) => counted(() => files.list(prefix)),
    delete: (key) => files.delete(key),
  }
  reads = 0
  broken = undefined
  clock = new FakeClock(Date.UTC(2026, 0, 2))
  catalog = new ModelCatalog(store, { clock })
})
afterEach(() => rm(root, { recursive: true }))

describe('pushing a model', () => {
  it('gives its manifest, and its bytes under their hash', async () => {
    const manifest = await catalog.push('MyModel', '1', model, { labels: ['cat', 'dog'] })
    const sha256 = await sha256Hex(model)
    assert.deepEqual(manifest, {
      name: 'MyModel',
      version: '1',
      sha256,
      bytes: model.length,
      ...readSignature(model),
      createdAt: '2026-01-02T00:00:00.000Z',
      labels: ['cat', 'dog'],
    })
    assert.deepEqual(await catalog.find('MyModel'), manifest)
    const blob = await catalog.openBlob(sha256)
    assert.equal(blob?.size, model.length)
    assert.deepEqual(await readAll(blob?.stream ?? null, model.length), model)
    assert.isUndefined(await catalog.openBlob('0'.repeat(64)))
  })

  it('may be repeated, but a version never changes', async () => {
    const first = await catalog.push('m', '1', model)
    await clock.advance(5000)
    assert.deepEqual(await catalog.push('m', '1', model), first)
    await assertRejects(
      catalog.push('m', '1', other),
      /^Cannot push "m" version 1: it exists with other bytes \(push another version, for example 2\)$/,
      'already_exists',
    )
    assert.deepEqual(await catalog.find('m', '1'), first)
    assert.deepEqual(await store.list('blobs/'), [`blobs/${first.sha256}`])
  })

  it('of different bytes at once lets one win', async () => {
    const catalogs = Array.from({ length: 4 }, () => new ModelCatalog(store, { clock }))
    const files = catalogs.map((_, i) => identityModel('float32', ['N', i + 1]))
    const pushes = await Promise.allSettled(catalogs.map((each, i) => each.push('m', '1', files[i] ?? model)))
    const won = pushes.flatMap((push) => push.status === 'fulfilled' ? [push.value] : [])
    assert.lengthOf(won, 1)
    assert.deepEqual(await catalog.find('m', '1'), won[0])
    for (const push of pushes) if (push.status === 'rejected') assert.equal(push.reason.code, 'already_exists')
  })

  it('refuses bad names, versions and files, and stores nothing of them', async () => {
    for (const name of ['', '../x', 'a/b', '.hidden', '-x', 'ä', 'a b', 'n'.repeat(LIMITS.maxNameLength + 1)]) {
      await assertRejects(catalog.push(name, '1', model), /^Cannot push a model: its name must be/)
    }
    for (const version of ['', 'v1', '01', '1.2', '../1', '1.0.0+build', 'latest', '1e3', '-1', '9'.repeat(10)]) {
      await assertRejects(catalog.push('m', version, model), /^Cannot push a model: its version must be .* got "/)
    }
    await assertRejects(catalog.push('m', '1', new Uint8Array(3)), /^Cannot read the model/)
    await assertRejects(
      catalog.push('m', '1', new Uint8Array(LIMITS.maxModelBytes + 1)),
      /at most 104857600 bytes, got/,
    )
    const names = Array.from(
      { length: LIMITS.maxTensors },
      (_, i) => tensorInfo(`${i}`.padEnd(200, 'n'), 'float32', [1]),
    )
    await assertRejects(catalog.push('m', '1', modelOf({ input: names, output: names })), /manifest must have at most/)
    assert.deepEqual(await store.list(''), [])
  })

  it('serves hostile ids of blobs nothing but a refusal', async () => {
    for (const id of ['', '../models', 'A'.repeat(64), '0'.repeat(63), `${'0'.repeat(64)}/x`]) {
      await assertRejects(catalog.openBlob(id), /^Cannot open a blob: its id must be 64 lower-case hex digits/)
    }
  })
})

describe('finding a model', () => {
  it('takes the newest release in the order of numbers, not of text', async () => {
    for (const version of ['9', '10', '2', '11.0.0-rc.1']) await catalog.push('numbers', version, model)
    assert.equal((await catalog.find('numbers'))?.version, '10')
    for (const version of ['1.2.0', '1.10.0', '1.9.3']) await catalog.push('semver', version, model)
    assert.equal((await catalog.find('semver'))?.version, '1.10.0')
    for (const version of ['1.0.0-beta.2', '1.0.0-beta.11']) await catalog.push('early', version, model)
    assert.equal((await catalog.find('early'))?.version, '1.0.0-beta.11')
  })

  it('takes the version asked for, and knows what there is not', async () => {
    await catalog.push('m', '1', model)
    await catalog.push('m', '2', other)
    assert.equal((await catalog.find('m', '1'))?.sha256, await sha256Hex(model))
    assert.isUndefined(await catalog.find('m', '3'))
    assert.isUndefined(await catalog.find('nothing'))
    assert.isUndefined(await catalog.find('m-'), 'a name that begins another is another model')
    await assertRejects(catalog.find('../m'), /^Cannot find a model: its name must be/)
    await assertRejects(catalog.find('m', '../1'), /^Cannot find a model: its version must be/)
  })

  it('lists every version by name, oldest first', async () => {
    await catalog.push('b', '10', model)
    await catalog.push('b', '9', other)
    await catalog.push('a', '1', affineModel({ weights: [[1]], bias: [0] }))
    const list = await catalog.list()
    assert.deepEqual(list.map(({ name, version }) => `${name} ${version}`), ['a 1', 'b 9', 'b 10'])
    assert.deepEqual(list[1], await catalog.find('b', '9'))
  })

  it('reports a manifest that is not JSON', async () => {
    await catalog.push('m', '1', model)
    await writeFile(join(root, 'models/m/1.json'), '{"name"')
    await assertRejects(
      new ModelCatalog(store, { clock }).find('m'),
      /Cannot read the manifest models\/m\/1.json/,
      'data_loss',
    )
  })
})

describe('the cache', () => {
  beforeEach(async () => {
    await catalog.push('m', '1', model)
    reads = 0
  })

  it('answers without reading for a while, then looks again', async () => {
    const first = await catalog.find('m')
    const readsOfOne = reads
    assert.isAbove(readsOfOne, 0)
    await clock.advance(DEFAULTS.manifestCacheMs - 1)
    for (let i = 0; i < 100; i++) assert.strictEqual(await catalog.find('m'), first)
    assert.equal(reads, readsOfOne)

    await new ModelCatalog(store, { clock }).push('m', '2', other)
    reads = 0
    assert.equal((await catalog.find('m'))?.version, '1')
    await clock.advance(1)
    assert.equal((await catalog.find('m'))?.version, '2')
    assert.isAbove(reads, 0)
  })

  it('remembers what is missing, more briefly', async () => {
    assert.isUndefined(await catalog.find('new'))
    await new ModelCatalog(store, { clock }).push('new', '1', model)
    reads = 0
    await clock.advance(DEFAULTS.missingManifestCacheMs - 1)
    assert.isUndefined(await catalog.find('new'))
    assert.equal(reads, 0)
    await clock.advance(1)
    assert.equal((await catalog.find('new'))?.version, '1')
  })

  it('is told of a push through the same catalog', async () => {
    assert.equal((await catalog.find('m'))?.version, '1')
    assert.isUndefined(await catalog.find('m', '2'))
    await catalog.push('m', '2', other)
    assert.equal((await catalog.find('m'))?.version, '2')
    assert.equal((await catalog.find('m', '2'))?.version, '2')
  })

  it('shares one read between callers at once', async () => {
    await Promise.all(Array.from({ length: 20 }, () => catalog.find('m', '1')))
    assert.equal(reads, 1)
  })

  it('serves what it last knew while the store is out of reach, and fails where it knows nothing', async () => {
    const known = await catalog.find('m')
    await clock.advance(DEFAULTS.manifestCacheMs)
    broken = new Error('out of reach')
    assert.deepEqual(await catalog.find('m'), known)
    const error = await catalog.find('unknown').catch((thrown) => thrown)
    assert.strictEqual(error, broken)

    broken = undefined
    assert.isUndefined(await catalog.find('unknown'), 'a failure is not remembered')
    await new ModelCatalog(store, { clock }).push('m', '2', other)
    await clock.advance(DEFAULTS.missingManifestCacheMs)
    assert.equal((await catalog.find('m'))?.version, '2')
  })

  it('holds a bounded number and keeps what is in use', async () => {
    await catalog.find('m')
    for (let i = 0; i < LIMITS.maxCachedManifests; i++) {
      await catalog.find(`guess-${i}`)
      if (i % 100 === 0) await catalog.find('m')
    }
    reads = 0
    await catalog.find('m')
    assert.equal(reads, 0, 'in use')
    await catalog.find('guess-0')
    assert.isAbove(reads, 0, 'long unused')
  })
})
