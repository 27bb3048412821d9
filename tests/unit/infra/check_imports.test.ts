import { describe, expect, it } from 'vitest'
import { checkImports, readSource } from '../../../infra/check_imports.ts'

/** The violations of a made-up tree; every import in it leads to a file that exists unless the test leaves it out. */
function check(tree: Record<string, string>): string[] {
  return checkImports(new Map(Object.entries(tree)))
}

/** A tree of one file that imports another, which is empty. */
function importing(from: string, to: string, statement = (specifier: string) => `import '${specifier}'`): string[] {
  const up = '../'.repeat(from.split('/').length - 1)
  return check({ [from]: statement(`${up}${to}`), [to]: '' })
}

describe('reading imports', () => {
  it('finds every form of import, with its line', () => {
    const text = [
      "import a from './a.ts'",
      "import type { B } from './b.ts'",
      "import { type C } from './c.ts'",
      "import './d.ts'",
      "export * from './e.ts'",
      "export { f } from './f.ts'",
      "export type { G } from './g.ts'",
      "const h = await import('./h.ts')",
      'const i = import(`./i.ts`)',
      "let j: import('./j.ts').J",
      "const k = () => { if (a) return import('./k.ts') }",
    ].join('\n')
    const names = 'abcdefghijk'.split('')
    expect(readSource('x.ts', text).imports).toEqual(names.map((name, index) => ({
      specifier: `./${name}.ts`,
      line: index + 1,
      typeOnly: 'bgj'.includes(name),
    })))
  })

  it('is not fooled by comments, strings and templates', () => {
    const text = `
      // import './a.ts'
      /* import './b.ts' */
      const c = "import './c.ts'"
      const d = \`import './d.ts'\`
      const e = import.meta.url, f = /import '.\\/f.ts'/
      const g = (name: string) => import(\`./\${name}.ts\`)`
    expect(readSource('x.ts', text).imports).toEqual([])
  })
})

describe('layers', () => {
  const order = ['base', 'wire', 'rpc', 'contracts', 'stores', 'pool', 'relay']

  it('lets the right import the left and never the left the right', () => {
    for (const [i, left] of order.entries()) {
      for (const right of order.slice(i + 1)) {
        expect(importing(`shared/${right}/x.ts`, `shared/${left}/y.ts`)).toEqual([])
        const refused = importing(`shared/${left}/x.ts`, `shared/${right}/y.ts`)
        expect(refused).toHaveLength(1)
        expect(refused[0]).toMatch(`shared/${left}/x.ts:1: Cannot import shared/${right}/y.ts: ${left} stands left of`)
      }
    }
  })

  it('keeps siblings apart', () => {
    for (
      const siblings of [['registry', 'routing', 'pool', 'models', 'engine'], ['relay', 'worker', 'jobs', 'training']]
    ) {
      for (const one of siblings) {
        for (const other of siblings.filter((name) => name !== one)) {
          expect(importing(`shared/${one}/x.ts`, `shared/${other}/y.ts`)).toEqual([
            `shared/${one}/x.ts:1: Cannot import shared/${other}/y.ts: ` +
            `${one} and ${other} are siblings and meet only in functions/`,
          ])
        }
      }
    }
  })

  it('allows the same layer, subfolders included', () => {
    expect(importing('shared/rpc/x.ts', 'shared/rpc/transports/y.ts')).toEqual([])
    expect(importing('shared/rpc/transports/x.ts', 'shared/rpc/y.ts')).toEqual([])
    expect(importing('shared/rpc/transports/x.ts', 'shared/stores/y.ts')).toHaveLength(1)
  })

  it('counts types, re-exports and dynamic imports', () => {
    const statements = [
      (path: string) => `import type { T } from '${path}'`,
      (path: string) => `export type { T } from '${path}'`,
      (path: string) => `export * from '${path}'`,
      (path: string) => `const y = () => import('${path}')`,
      (path: string) => `let y: import('${path}').T`,
    ]
    for (const statement of statements) {
      expect(importing('shared/wire/x.ts', 'shared/pool/y.ts', statement)).toHaveLength(1)
      expect(importing('shared/pool/x.ts', 'shared/wire/y.ts', statement)).toEqual([])
    }
  })

  it('lets shared/mod.ts import every layer, and no layer import it', () => {
    expect(importing('shared/mod.ts', 'shared/training/y.ts')).toEqual([])
    const refusal = 'Cannot import shared/mod.ts: inside shared/ the layers are imported, not shared/mod.ts'
    expect(importing('shared/training/x.ts', 'shared/mod.ts')).toEqual([`shared/training/x.ts:1: ${refusal}`])
    expect(importing('shared/training/x.ts', 'shared/mod.ts', () => "import 'shoal'")).toEqual([
      `shared/training/x.ts:1: ${refusal}`,
    ])
    expect(importing('functions/hello/x.ts', 'shared/mod.ts', () => "import 'shoal'")).toEqual([])
  })

  it('refuses a file in shared/ that lies in no layer', () => {
    for (const path of ['shared/misc/x.ts', 'shared/x.ts', 'shared/base.ts']) {
      expect(check({ [path]: '' })).toEqual([expect.stringMatching(`^${path}:1: Cannot place the file: shared/ holds`)])
    }
  })
})

describe('areas', () => {
  const allowed: Record<string, string[]> = {
    'shared/base': ['shared/base'],
    'functions/cli': ['shared/base', 'functions/cli'],
    'infra': ['shared/base', 'functions/cli', 'infra'],
    'tests/unit': ['shared/base', 'functions/cli', 'infra', 'tests/unit'],
  }

  it('import only what stands below them', () => {
    for (const [from, targets] of Object.entries(allowed)) {
      for (const to of Object.keys(allowed)) {
        const violations = importing(`${from}/x.ts`, `${to}/y.ts`)
        if (targets.includes(to)) expect(violations).toEqual([])
        else {
          const [area] = from.split('/')
          expect(violations).toEqual([
            expect.stringMatching(`^${from}/x.ts:1: Cannot import ${to}/y.ts: ${area}/ may import only shared`),
          ])
        }
      }
    }
  })
})

describe('packages', () => {
  it('have one home', () => {
    const msgpack = "import { encode } from '@msgpack/msgpack'"
    expect(check({ 'shared/wire/codec.ts': msgpack })).toEqual([])
    // The test that a stranger's library reads our messages needs that library.
    expect(check({ 'tests/unit/wire/msgpack_interop.test.ts': msgpack })).toEqual([])
    for (const path of ['shared/wire/frame.ts', 'functions/cli/x.ts', 'tests/unit/x.ts']) {
      expect(check({ [path]: msgpack })).toEqual([
        `${path}:1: Cannot import "@msgpack/msgpack": only shared/wire/codec.ts may`,
      ])
    }

    const ort = "\nimport * as ort from 'onnxruntime-web/jspi'"
    expect(check({ 'shared/engine/x.ts': ort, 'tests/unit/x.ts': ort })).toEqual([])
    for (const path of ['shared/worker/x.ts', 'functions/worker/x.ts']) {
      expect(check({ [path]: ort })).toEqual([
        `${path}:2: Cannot import "onnxruntime-web/jspi": only shared/engine/ and tests/ may`,
      ])
    }
    expect(check({ 'shared/worker/x.ts': "import 'onnxruntime-web-but-another'" })).toEqual([])
  })

  it('of Node stay in adapters', () => {
    for (const specifier of ['node:fs', 'fs', 'node:fs/promises']) {
      expect(check({ 'shared/models/blobs.ts': `import '${specifier}'` })).toEqual([
        `shared/models/blobs.ts:1: Cannot import "${specifier}": ` +
        'in shared/ only adapters named sqlite_*, file_*, tcp_* or *_node may use Node',
      ])
    }
    const adapters = ['stores/sqlite_store', 'models/file_blob_store', 'stores/tcp_redis', 'rpc/transports/socket_node']
    for (const adapter of adapters) expect(check({ [`shared/${adapter}.ts`]: "import 'node:fs'" })).toEqual([])
    for (const path of ['functions/cli/x.ts', 'infra/x.ts', 'tests/x.ts']) {
      expect(check({ [path]: "import 'node:fs'" })).toEqual([])
    }
    // The name of the file counts, not that of a folder or a part of a word.
    for (const path of ['models/profile_x', 'rpc/tcp_x/y']) {
      expect(check({ [`shared/${path}.ts`]: "import 'node:fs'" })).toHaveLength(1)
    }
  })
})

describe('cycles', () => {
  it('are refused at the import that closes them, with the whole way round', () => {
    const tree = {
      'shared/pool/a.ts': "import './b.ts'",
      'shared/pool/b.ts': "\nexport * from './c.ts'",
      'shared/pool/c.ts': "const a = () => import('./a.ts')",
    }
    expect(check(tree)).toEqual([
      'shared/pool/c.ts:1: Cannot import shared/pool/a.ts: that closes the cycle ' +
      'shared/pool/a.ts → shared/pool/b.ts → shared/pool/c.ts → shared/pool/a.ts',
    ])
  })

  it('are found in every area, in a file alone and behind a shared file', () => {
    for (const area of ['functions/x', 'infra', 'tests/x']) {
      const tree = { [`${area}/a.ts`]: "import './b.ts'", [`${area}/b.ts`]: "import './a.ts'" }
      expect(check(tree)).toHaveLength(1)
    }
    expect(check({ 'infra/a.ts': "import './a.ts'" })).toHaveLength(1)
    const shared = { 'infra/a.ts': "import './c.ts'", 'infra/b.ts': "import './c.ts'", 'infra/c.ts': "import './b.ts'" }
    expect(check(shared)).toHaveLength(1)
  })

  it('do not arise from types, nor from two ways to one file', () => {
    const types = { 'infra/a.ts': "import type { B } from './b.ts'", 'infra/b.ts': "import './a.ts'" }
    expect(check(types)).toEqual([])
    const inline = { 'infra/a.ts': "import { type B } from './b.ts'", 'infra/b.ts': "import './a.ts'" }
    expect(check(inline)).toHaveLength(1)
    const diamond = {
      'infra/a.ts': "import './b.ts'\nimport './c.ts'",
      'infra/b.ts': "import './d.ts'",
      'infra/c.ts': "import './d.ts'",
      'infra/d.ts': '',
    }
    expect(check(diamond)).toEqual([])
  })
})

describe('any', () => {
  it('is refused wherever a type may stand', () => {
    const text = 'let a: any\nlet b: Array<any>\nconst c = (d: any) => d as any\ntype E = { f: any }'
    const lines = check({ 'tests/x.ts': text }).map((violation) => violation.split(':', 2)[1])
    expect(lines).toEqual(['1', '2', '3', '3', '4'])
    expect(check({ 'tests/x.ts': 'let a: any' })).toEqual([
      'tests/x.ts:1: Cannot use any: give the type, or unknown and a check',
    ])
  })

  it('is only a word elsewhere', () => {
    expect(check({ 'tests/x.ts': "// any\nconst any = { any: 'any' }\nexpect.any(Number)\nPromise.any([])" })).toEqual(
      [],
    )
  })
})

describe('the report', () => {
  it('is ordered by file and line and goes on past a file that does not parse', () => {
    const tree = {
      'shared/wire/z.ts': "import 'node:fs'\nlet a: any\nimport '../rpc/x.ts'",
      'shared/base/broken.ts': 'import {',
      'shared/rpc/x.ts': '',
    }
    expect(check(tree).map((violation) => violation.replace(/: .*/, ''))).toEqual([
      'shared/base/broken.ts:1',
      'shared/wire/z.ts:1',
      'shared/wire/z.ts:2',
      'shared/wire/z.ts:3',
    ])
  })
})
