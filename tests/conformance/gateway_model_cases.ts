import { expect, it } from 'vitest'
import { sha256Hex } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { node, tensorInfo, toTensorProto } from '../../shared/models/onnx.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { fixedModel, identityModel, modelOf } from '../fixtures/models.ts'
import { runCli, temporaryFolder } from '../fixtures/process.ts'
import { ask, askRaw } from './gateway_http.ts'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Weights that are said to lie in another file: following that path would read the gateway's disk. */
function externalModel() {
  return modelOf({
    input: [tensorInfo('x', 'float32', [1])],
    output: [tensorInfo('y', 'float32', [1])],
    initializer: [{
      ...toTensorProto('w', Tensor.from('float32', [1], [0])),
      rawData: new Uint8Array(),
      dataLocation: 1,
      externalData: [{ key: 'location', value: '../../../../etc/passwd' }],
    }],
    node: [node('Add', ['x', 'w'], ['y'])],
  })
}

export function modelCases(at: () => string): void {
  const push = (name: string, version: string, body: BodyInit) =>
    ask(at(), 'PUT', `/models/${name}/versions/${version}`, { body })
  const versionsOf = async (name: string) =>
    (await ask(at(), 'GET', '/models')).json.models
      .filter((model: { name: string }) => model.name === name).map((model: { version: string }) => model.version)

  it('keeps a pushed model, lists it and hands out its bytes by hash', async () => {
    const bytes = identityModel('float32')
    const pushed = await push('kept', '1', bytes)
    expect(pushed.status).toBe(200)
    const sha256 = await sha256Hex(bytes)
    const signature = {
      inputs: [{ name: 'x', dtype: 'float32', shape: [-1, 2], axes: ['N', ''] }],
      outputs: [{ name: 'y', dtype: 'float32', shape: [-1, 2], axes: ['N', ''] }],
      batchable: true,
    }
    expect(pushed.json).toMatchObject({ name: 'kept', version: '1', sha256, bytes: bytes.length, opset: 17, signature })
    const { json } = await ask(at(), 'GET', '/models')
    expect(json.models).toContainEqual(pushed.json)

    const blob = await fetch(`${at()}/blobs/${sha256}`)
    expect(blob.headers.get('content-type')).toBe('application/octet-stream')
    expect(blob.headers.get('cache-control')).toContain('private')
    expect(new Uint8Array(await blob.arrayBuffer())).toEqual(bytes)
  })

  it('takes the same bytes again, and refuses others for a version that exists', async () => {
    const first = await push('fixed-for-ever', '1', fixedModel())
    const again = await push('fixed-for-ever', '1', fixedModel())
    expect([again.status, again.json]).toEqual([200, first.json])
    const other = await push('fixed-for-ever', '1', identityModel('int32'))
    expect(other.status).toBe(409)
    expect(other.headers.get('content-type')).toBe('application/problem+json')
    expect(other.json.detail).toMatch(/version 1: it exists with other bytes.*\b2\)/)
    const { json } = await ask(at(), 'GET', '/models')
    expect(json.models).toContainEqual(first.json)
    expect(await versionsOf('fixed-for-ever')).toEqual(['1'])
  })

  it('keeps the labels that come with a model', async () => {
    const headers = { 'shoal-labels': ['a tabby', 'ein Fisch, groß'].map(encodeURIComponent).join(',') }
    const pushed = await ask(at(), 'PUT', '/models/labelled/versions/1', { body: fixedModel(), headers })
    expect(pushed.json.labels).toEqual(['a tabby', 'ein Fisch, groß'])
    const broken = await ask(at(), 'PUT', '/models/labelled/versions/2', {
      body: fixedModel(),
      headers: { 'shoal-labels': '100%' },
    })
    expect([broken.status, broken.json.detail]).toEqual([400, expect.stringContaining('shoal-labels')])
    expect(await versionsOf('labelled')).toEqual(['1'])
  })

  const NOT_ONNX: Record<string, [Uint8Array<ArrayBuffer>, RegExp]> = {
    'an empty body': [new Uint8Array(), /got an empty file/],
    'random bytes': [Uint8Array.from({ length: 999 }, (_, i) => i * 89 % 251), /expected an ONNX file/],
    'a ZIP archive': [new TextEncoder().encode('PK\x03\x04 weights'), /got a ZIP archive/],
    'JSON': [new TextEncoder().encode('{"weights": []}'), /got JSON/],
    'a Git LFS pointer': [new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\n'), /Git LFS pointer/],
    'weights in another file': [externalModel(), /external data/i],
  }
  for (const [what, [bytes, message]] of Object.entries(NOT_ONNX)) {
    it(`refuses ${what} and stores nothing`, async () => {
      const refused = await push('not-onnx', '1', bytes)
      expect(refused.json.detail).toMatch(message)
      expect(refused.status).toBe(400)
      expect(await versionsOf('not-onnx')).toEqual([])
      expect((await ask(at(), 'GET', `/blobs/${await sha256Hex(bytes)}`)).status).toBe(404)
    })
  }

  it('refuses a model that is too large before it has come', async () => {
    const tooLong = LIMITS.maxModelBytes + 1
    const { status, text } = await askRaw(at(), [
      'PUT /models/large/versions/1 HTTP/1.1',
      `Content-Length: ${tooLong}`,
    ])
    expect(status).toBe(413)
    expect(text).toContain(`at most ${LIMITS.maxModelBytes} bytes, got ${tooLong}`)
    expect(await versionsOf('large')).toEqual([])
  })

  for (
    const path of [
      '/models/.hidden/versions/1',
      '/models/a%20b/versions/1',
      '/models/..%2f..%2fetc/versions/1',
      '/models/a%00/versions/1',
      '/models/%3Cimg%20onerror%3E/versions/1',
      `/models/${'a'.repeat(LIMITS.maxNameLength + 1)}/versions/1`,
      '/models/named/versions/v1',
      '/models/named/versions/1.0',
      '/models/named/versions/01',
      '/models/named/versions/-1',
      '/models/named/versions/1.0.0+build',
      '/models/named/versions/..%2f1',
    ]
  ) {
    it(`refuses ${path.length > 60 ? 'a name that is too long' : path}`, async () => {
      const refused = await ask(at(), 'PUT', path, { body: fixedModel() })
      expect(refused.json.detail).toMatch(/its (name|version) must be/)
      expect(refused.status).toBe(400)
    })
  }

  it('answers 404 and 400 for blobs that are not there and ids that cannot be', async () => {
    expect((await ask(at(), 'GET', `/blobs/${'0'.repeat(64)}`)).status).toBe(404)
    for (const id of ['0'.repeat(63), 'A'.repeat(64), '..%2f..%2fshoal.db']) {
      expect((await ask(at(), 'GET', `/blobs/${id}`)).status).toBe(400)
    }
  })

  it('takes models from the command line and lists them there', async () => {
    await using folder = await temporaryFolder()
    const file = join(folder.path, 'model.onnx')
    await writeFile(file, identityModel('uint8', ['N', 3]))
    const options = ['--gateway', at()]
    const pushed = await runCli(['models', 'push', file, '--name', 'by-hand', '--version', '1.2.3', ...options])
    expect(pushed.stderr).toBe('')
    expect(pushed.stdout).toContain('pushed by-hand version 1.2.3')
    expect(pushed.stdout).toContain('x uint8[N,3]')
    expect(pushed.stdout).toContain(await sha256Hex(identityModel('uint8', ['N', 3])))
    const listed = await runCli(['models', 'list', ...options])
    expect(listed.stdout).toMatch(/^by-hand +1\.2\.3 +- +\d+ +x uint8\[N,3\] → y uint8\[N,3\]$/m)
  })

  it('a blob is given from where a download was cut off', async () => {
    const model = fixedModel()
    const { json } = await ask(at(), 'PUT', '/models/ranged/versions/1', { body: model })
    const get = (range: string) => fetch(`${at()}/blobs/${json.sha256}`, { headers: { range } })
    const rest = await get('bytes=10-')
    expect([rest.status, rest.headers.get('content-range')]).toEqual([
      206,
      `bytes 10-${model.byteLength - 1}/${model.byteLength}`,
    ])
    expect(new Uint8Array(await rest.arrayBuffer())).toEqual(model.subarray(10))
    const beyond = await get(`bytes=${model.byteLength}-`)
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${model.byteLength}`])
    await beyond.arrayBuffer()
    for (const other of ['bytes=-5', 'bytes=0-1,3-4', 'lines=1-']) {
      const whole = await get(other)
      expect([whole.status, (await whole.arrayBuffer()).byteLength]).toEqual([200, model.byteLength])
    }
  })
}
