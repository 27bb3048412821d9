import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../shared/base/bytes.ts'
import { encodeBundle } from '../../shared/models/bundle.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { affineModel, externalAffineModel, fixedModel, identityModel, pairModel } from '../fixtures/models.ts'
import { runCli, temporaryFolder } from '../fixtures/process.ts'
import { refusal } from './expectations.ts'
import { ask, inferenceAt } from './gateway_http.ts'
import { metricAt } from './gateway_metrics.ts'

const ONE = { weights: [[1], [2]], bias: [0] }
const TWO = { weights: [[1], [2]], bias: [100] }

/** What can be done with models beside pushing them: names for versions, deletion, options, and answers that are kept. */
export function catalogCases(at: () => string): void {
  const push = (path: string, body: BodyInit, options: unknown = {}) =>
    ask(at(), 'PUT', `/models/${path}`, {
      body,
      headers: { 'shoal-options': encodeURIComponent(JSON.stringify(options)) },
    })
  const infer = (path: string, data: number[], name = 'x') =>
    ask(at(), 'POST', `/v2/models/${path}/infer`, {
      json: { inputs: [{ name, shape: [1, data.length], datatype: 'FP32', data }] },
    })
  const versionsOf = async (name: string) =>
    (await ask(at(), 'GET', '/models')).json.models.filter((model: { name: string }) => model.name === name)
      .map((model: { version: string }) => model.version)

  describe('aliases', () => {
    const alias = (name: string, version: string) =>
      ask(at(), 'PUT', `/models/aliased/aliases/${name}`, { json: { version } })
    beforeAll(async () => {
      await push('aliased/versions/1', affineModel(ONE))
      await push('aliased/versions/2', affineModel(TWO))
    })

    it('name a version, and can be moved', async () => {
      expect((await ask(at(), 'GET', '/v2/models/aliased/versions/stable')).status).toBe(404)
      expect((await alias('stable', '1')).status).toBe(200)
      expect((await infer('aliased/versions/stable', [1, 1])).json).toMatchObject({
        model_version: '1',
        outputs: [{ data: [3] }],
      })
      const { outputs } = await inferenceAt(at()).infer({
        model: 'aliased',
        version: 'stable',
        inputs: { x: Tensor.from('float32', [1, 2], [1, 1]) },
      })
      expect(outputs.y?.data).toEqual(Float32Array.of(3))
      expect((await alias('stable', '2')).status).toBe(200)
      expect((await infer('aliased/versions/stable', [1, 1])).json.outputs[0].data).toEqual([103])
      expect((await ask(at(), 'GET', '/models')).json.aliases.aliased).toEqual({ stable: '2' })
    })

    it('have one that nobody sets: latest', async () => {
      expect((await infer('aliased/versions/latest', [1, 1])).json.model_version).toBe('2')
      expect((await alias('latest', '1')).status).toBe(400)
    })

    it('refuse what cannot be one, and versions that are not there', async () => {
      for (const name of ['Stable', '1x', 'a.b', 'a_b', 'x'.repeat(65), '..%2fx', '%20']) {
        const { status, json } = await alias(name, '1')
        expect([name, status, json.detail]).toEqual([name, 400, expect.stringMatching(/an alias must be/)])
      }
      expect((await alias('beta', '9')).status).toBe(404)
      expect((await ask(at(), 'PUT', '/models/aliased/aliases/beta', { json: {} })).status).toBe(400)
      expect((await ask(at(), 'GET', '/models')).json.aliases.aliased).not.toHaveProperty('beta')
    })

    it('are set from the command line', async () => {
      const set = await runCli(['models', 'alias', 'aliased', 'canary', '1', '--gateway', at()])
      expect([set.stdout, set.stderr]).toEqual(['aliased canary → 1\n', ''])
      expect((await runCli(['models', 'list', '--gateway', at()])).stdout).toMatch(/^aliased +1 +canary +\d+ /m)
      const gone = await runCli(['models', 'alias', 'aliased', 'canary', 'none', '--gateway', at()])
      expect([gone.stdout, gone.stderr]).toEqual(['aliased canary removed\n', ''])
      expect((await ask(at(), 'GET', '/v2/models/aliased/versions/canary')).status).toBe(404)
    })
  })

  describe('deletion', () => {
    it('removes a version, and bytes that no other has', async () => {
      const { json: one } = await push('doomed/versions/1', identityModel('int8'))
      const { json: two } = await push('doomed/versions/2', identityModel('int16'))
      await push('spared/versions/1', identityModel('int8'))
      expect((await ask(at(), 'DELETE', '/models/doomed/versions/1')).json.deleted).toEqual([
        { name: 'doomed', version: '1', sha256: one.sha256 },
      ])
      expect(await versionsOf('doomed')).toEqual(['2'])
      // Another model has the same bytes.
      expect((await ask(at(), 'GET', `/blobs/${one.sha256}`)).status).toBe(200)
      expect((await ask(at(), 'DELETE', '/models/spared')).status).toBe(200)
      expect((await ask(at(), 'GET', `/blobs/${one.sha256}`)).status).toBe(404)
      expect((await ask(at(), 'GET', `/blobs/${two.sha256}`)).status).toBe(200)
      const cli = await runCli(['models', 'delete', 'doomed', '--version', '2', '--gateway', at()])
      expect([cli.stdout, cli.stderr]).toEqual(['deleted doomed version 2\n', ''])
      expect(await versionsOf('doomed')).toEqual([])
      expect((await ask(at(), 'GET', '/v2/models/doomed')).status).toBe(404)
    })

    it('leaves a version that an alias names, and takes a whole model with its aliases', async () => {
      await push('named/versions/1', fixedModel())
      await ask(at(), 'PUT', '/models/named/aliases/stable', { json: { version: '1' } })
      const refused = await ask(at(), 'DELETE', '/models/named/versions/1')
      expect([refused.status, refused.json.detail]).toEqual([400, expect.stringContaining('got stable')])
      expect((await ask(at(), 'DELETE', '/models/named')).status).toBe(200)
      expect((await ask(at(), 'GET', '/models')).json.aliases).not.toHaveProperty('named')
      for (const path of ['named', 'named/versions/1', 'never']) {
        expect((await ask(at(), 'DELETE', `/models/${path}`)).status).toBe(404)
      }
    })

    it('lets a deleted version be pushed again with other bytes', async () => {
      await push('reborn/versions/1', fixedModel())
      await ask(at(), 'DELETE', '/models/reborn/versions/1')
      expect((await push('reborn/versions/1', pairModel())).status).toBe(200)
    })
  })

  describe('models in pieces', () => {
    it('are pushed from the command line with the weights that lie beside them, run, and go with all their pieces', async () => {
      await using folder = await temporaryFolder()
      const { model, data } = externalAffineModel(TWO, 'weights/all.bin')
      const path = join(folder.path, 'outside.onnx')
      await writeFile(path, model)
      const command = ['models', 'push', path, '--name', 'outside', '--gateway', at()]
      const missing = await runCli(command)
      expect([missing.code, missing.stderr]).toEqual([
        1,
        expect.stringMatching(/its weights in .*all\.bin are required/),
      ])
      await mkdir(join(folder.path, 'weights'))
      await writeFile(join(folder.path, 'weights/all.bin'), data)
      const pushed = await runCli(command)
      expect([pushed.stderr, pushed.stdout]).toEqual(['', expect.stringContaining('pushed outside version 1')])
      expect((await infer('outside', [1, 2])).json.outputs[0].data).toEqual([105])

      const manifest = (await ask(at(), 'GET', '/models')).json.models
        .find(({ name }: { name: string }) => name === 'outside')
      expect(manifest.bytes).toBe(model.length + data.length)
      expect(manifest.files).toEqual([
        { path: 'outside.onnx', bytes: model.length },
        { path: 'weights/all.bin', bytes: data.length },
      ])
      const blobs = [manifest.sha256, ...manifest.pieces]
      const statuses = async () =>
        await Promise.all(blobs.map(async (sha256) => (await ask(at(), 'GET', `/blobs/${sha256}`)).status))
      expect(await statuses()).toEqual([200, 200, 200])
      await ask(at(), 'DELETE', '/models/outside')
      expect(await statuses()).toEqual([404, 404, 404])
    })

    it('are refused unless all of their pieces are there, as long as they say', async () => {
      const { model, data } = externalAffineModel(ONE)
      const piecesOf = async (bytes: Uint8Array<ArrayBuffer>, more = 0) => [
        { sha256: await sha256Hex(bytes), bytes: bytes.length + more },
      ]
      const store = async (bytes: Uint8Array<ArrayBuffer>) =>
        await ask(at(), 'PUT', `/blobs/${await sha256Hex(bytes)}`, { body: bytes })
      const bundle = async (more = 0) =>
        encodeBundle({
          model: { path: 'm.onnx', bytes: model.length, pieces: await piecesOf(model) },
          external: [{ path: 'weights.bin', bytes: data.length + more, pieces: await piecesOf(data, more) }],
        })
      await store(model)
      const missing = await push('pieces/versions/1', await bundle())
      expect([missing.status, missing.json.detail]).toEqual([
        400,
        expect.stringMatching(/must be stored first.*got none/),
      ])
      await store(data)
      const longer = await push('pieces/versions/1', await bundle(1))
      expect([longer.status, longer.json.detail]).toEqual([400, expect.stringMatching(/with 13 bytes, got 12 bytes/)])
      expect((await push('pieces/versions/1', await bundle())).status).toBe(200)
      expect((await infer('pieces', [1, 2])).json.outputs[0].data).toEqual([5])
      // By itself it still may not: what it refers to must never be a path on this machine.
      const alone = await push('alone/versions/1', model)
      expect([alone.status, alone.json.detail]).toEqual([400, expect.stringMatching(/must come with it/)])
    })
  })

  describe('options', () => {
    it('come with a model, and are changed without another version', async () => {
      const cache = { ttlMs: 1000, maxBytes: 1000 }
      const pushed = await push('optional/versions/1', identityModel('float32'), {
        visibility: 'public',
        cache,
        warmUp: [1, 8],
      })
      expect(pushed.json).toMatchObject({ visibility: 'public', cache, warmUp: [1, 8] })
      const patch = (json: unknown) => ask(at(), 'PATCH', '/models/optional/versions/1', { json })
      const amended = await patch({ visibility: 'private', cache: null, batch: false, labels: ['a', 'b'] })
      expect(amended.json).toMatchObject({ visibility: 'private', labels: ['a', 'b'], signature: { batchable: false } })
      expect(amended.json).not.toHaveProperty('cache')
      expect(amended.json.warmUp).toEqual([1, 8])
      expect((await patch({ warmUp: [] })).json).not.toHaveProperty('warmUp')
      await patch({ warmUp: [1, 8] })
      expect((await ask(at(), 'GET', '/models')).json.models).toContainEqual(amended.json)
      expect((await ask(at(), 'GET', '/v2/models/optional')).json.labels).toEqual(['a', 'b'])
      for (
        const bad of [{ visibility: 'all' }, { warmUp: [0] }, { cache: { ttlMs: 0, maxBytes: 1 } }, {
          cache: { ttlMs: 1 },
        }, {
          other: 1,
        }, []]
      ) {
        expect([bad, (await patch(bad)).status]).toEqual([bad, 400])
      }
      expect((await ask(at(), 'PATCH', '/models/optional/versions/2', { json: {} })).status).toBe(404)
    })

    it('join calls of a model that leaves its batch axis unnamed, if its author vouches for it', async () => {
      const { json } = await push('unnamed/versions/1', identityModel('float32', ['', 2]))
      expect(json.signature.batchable).toBe(false)
      const amended = await ask(at(), 'PATCH', '/models/unnamed/versions/1', { json: { batch: true } })
      expect(amended.json.signature.batchable).toBe(true)
      const refused = await push('unnamed/versions/2', fixedModel(), { batch: true })
      expect([refused.status, refused.json.detail]).toEqual([400, expect.stringMatching(/axis 0 .* must be free/)])
    })
  })

  describe('answers that are kept', () => {
    const cacheOf = async (path: string, data: number[]) => {
      const { status, headers, json } = await infer(path, data)
      expect(status).toBe(200)
      return [headers.get('shoal-cache'), json.outputs[0].data[0]]
    }
    beforeAll(async () => {
      await push('kept-answers/versions/1', affineModel(ONE), { cache: { ttlMs: 600_000, maxBytes: 100_000 } })
      await push('kept-answers/versions/2', affineModel(TWO), { cache: { ttlMs: 600_000, maxBytes: 100_000 } })
      await push('no-answers-kept/versions/1', affineModel(ONE))
    })

    it('are given to whoever asks the same of the same model, and counted', async () => {
      const hits = () => metricAt(at(), 'shoal_result_cache_calls_total{outcome="hit"}')
      const before = await hits()
      expect(await cacheOf('kept-answers/versions/1', [1, 2])).toEqual(['miss', 5])
      expect(await cacheOf('kept-answers/versions/1', [1, 2])).toEqual(['hit', 5])
      expect(await cacheOf('kept-answers/versions/1', [2, 1])).toEqual(['miss', 4])
      expect(await cacheOf('kept-answers/versions/2', [1, 2])).toEqual(['miss', 105])
      const x = Tensor.from('float32', [1, 2], [1, 2])
      const { outputs } = await inferenceAt(at()).infer({ model: 'kept-answers', version: '1', inputs: { x } })
      expect(outputs.y?.data).toEqual(Float32Array.of(5))
      expect(await hits() - before).toBe(2)
    })

    it('are not kept where nothing is said of it, nor errors ever', async () => {
      for (let i = 0; i < 2; i++) expect(await cacheOf('no-answers-kept', [1, 2])).toEqual([null, 5])
      for (let i = 0; i < 2; i++) {
        const x = Tensor.from('float32', [1, 1], [1])
        const error = await refusal(inferenceAt(at()).infer({ model: 'kept-answers', inputs: { x } }))
        expect(error.code).toBe('invalid_argument')
      }
    })
  })
}
