import type { StandardSchemaV1 } from '@standard-schema/spec'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { Inference } from '../../../shared/contracts/inference.ts'
import { defineService, serverStreaming, unary } from '../../../shared/rpc/contract.ts'
import { openApi } from '../../../shared/rpc/openapi.ts'
import { problemsOf } from '../../fixtures/check_openapi.ts'
import { runHere } from '../cli/in_process.ts'

const tree = z.object({
  value: z.number(),
  get children() {
    return z.array(tree)
  },
})

/** A validator that cannot describe itself. */
const silent: StandardSchemaV1<string> = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: String(value) }) },
}

const Zoo = defineService({
  name: 'test.Zoo',
  version: '2.1.0',
  methods: {
    feed: unary({
      input: z.object({ animal: z.string().max(10), portions: z.number().int().default(1) }),
      output: z.object({ left: z.bigint(), at: z.date() }),
      idempotent: true,
    }),
    grow: unary({ input: tree, output: z.object({ tree, forest: z.array(tree) }), deprecated: 'use plant' }),
    watch: serverStreaming({ input: z.object({}), output: z.object({ seen: z.string() }) }),
    talk: unary({ input: silent, output: silent }),
  },
})

const document = openApi([Zoo, Inference], { title: 'Zoo', version: '2.1.0', server: 'http://127.0.0.1:8787' })

describe('the document of contracts', () => {
  it('is OpenAPI 3.1, and travels as JSON', () => {
    expect(problemsOf(JSON.parse(JSON.stringify(document)))).toEqual([])
  })

  it('has an operation for each method', () => {
    expect(Object.keys(document.paths)).toEqual([
      '/rpc/test.Zoo/feed',
      '/rpc/test.Zoo/grow',
      '/rpc/test.Zoo/watch',
      '/rpc/test.Zoo/talk',
      '/rpc/shoal.Inference/infer',
      '/rpc/shoal.Inference/generate',
    ])
    const { feed, grow, watch } = {
      feed: document.paths['/rpc/test.Zoo/feed']?.post,
      grow: document.paths['/rpc/test.Zoo/grow']?.post,
      watch: document.paths['/rpc/test.Zoo/watch']?.post,
    }
    expect(feed).toMatchObject({ operationId: 'test.Zoo.feed', tags: ['test.Zoo'] })
    expect(feed?.deprecated).toBeUndefined()
    expect(grow).toMatchObject({ deprecated: true, description: expect.stringContaining('use plant') })
    const { content } = watch?.responses[200] as { content: Record<string, unknown> }
    expect(Object.keys(content)).toEqual([
      'text/event-stream',
      'application/connect+json',
      'application/connect+msgpack',
    ])
  })

  it('describes what goes in and what comes out as the validators do', () => {
    const { schemas } = document.components
    expect(schemas['test.Zoo.feed.Input']).toEqual({
      type: 'object',
      properties: {
        animal: { type: 'string', maxLength: 10 },
        portions: { default: 1, type: 'integer', minimum: -(2 ** 53 - 1), maximum: 2 ** 53 - 1 },
      },
      required: ['animal'],
    })
    // JSON Schema has no words for these: they may be anything, and the rest is described all the same.
    expect(schemas['test.Zoo.feed.Output']).toMatchObject({
      properties: { left: {}, at: {} },
      required: ['left', 'at'],
    })
    expect(schemas['test.Zoo.talk.Input']).toEqual({
      description: 'Checked by its validator (test), which does not describe itself as JSON Schema.',
    })
    const inputs = (schemas['shoal.Inference.infer.Input']?.properties as Record<string, unknown>).inputs
    expect(inputs).toMatchObject({ type: 'object', additionalProperties: { required: ['$tensor', 'shape', 'data'] } })
  })

  it('lets references of a schema lead to where it stands', () => {
    const text = JSON.stringify([
      document.components.schemas['test.Zoo.grow.Input'],
      document.components.schemas['test.Zoo.grow.Output'],
    ])
    const refs = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref)
    expect(refs.length).toBeGreaterThan(2)
    for (const ref of refs) expect(ref).toMatch(/^#\/components\/schemas\/test\.Zoo\.grow\.(Input|Output)/)
  })

  it('would be found out if it were wrong', () => {
    const broken = (change: (copy: ReturnType<typeof JSON.parse>) => void) => {
      const copy = JSON.parse(JSON.stringify(document))
      change(copy)
      return problemsOf(copy)
    }
    const feed = '/rpc/test.Zoo/feed'
    expect(broken((copy) => delete copy.components.schemas['test.Zoo.feed.Input'])).not.toEqual([])
    expect(broken((copy) => copy.paths[feed].post.responses = {})).not.toEqual([])
    expect(broken((copy) => copy.paths[feed].post.operationId = 'test.Zoo.grow')).not.toEqual([])
    expect(broken((copy) => copy.components.schemas.Error.type = 'map')).not.toEqual([])
    expect(broken((copy) => copy.paths['/rpc/{x}'] = copy.paths[feed])).not.toEqual([])
    expect(broken((copy) => copy.openapi = '3.0.0')).not.toEqual([])
  })
})

describe('shoal openapi', () => {
  it('prints the document of a module of contracts', async () => {
    const { stdout, line } = await runHere(['openapi', 'functions/hello/contract.ts', '--server', 'http://shoal.test'])
    expect(line).toBe('')
    const printed = JSON.parse(stdout)
    expect(problemsOf(printed)).toEqual([])
    expect([printed.info, printed.servers]).toEqual([
      { title: 'demo.Hello', version: '1.0.0' },
      [{ url: 'http://shoal.test' }],
    ])
    expect(Object.keys(printed.paths)).toEqual(['/rpc/demo.Hello/sayHello'])
  })

  it('says what is wrong with a file', async () => {
    for (
      const [args, words] of [
        [['openapi'], /a FILE is required, got none/],
        [['openapi', 'no/such.ts'], /Cannot load no\/such\.ts/],
        [['openapi', 'shared/base/limits.ts'], /must export some \(defineService\), got none/],
      ] as const
    ) expect((await runHere([...args])).line).toMatch(words)
  })
})
