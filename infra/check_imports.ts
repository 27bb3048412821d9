import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join, posix } from 'node:path'
import { parseAst } from 'vitest/node'
import { ROOT } from './tools.ts'

/** The layers of shared/, left to right. A file may import its own folder and any folder further left. */
const LAYERS: readonly (readonly string[])[] = [
  ['base'],
  ['wire'],
  ['rpc'],
  ['contracts'],
  ['stores'],
  ['registry', 'routing', 'pool', 'models', 'engine'],
  ['relay', 'worker', 'jobs', 'training'],
]
const LAYER_ORDER = LAYERS.map((layer) => layer.length > 1 ? `{${layer.join(', ')}}` : layer[0]).join(' → ')

/** The public face of shared/, to the right of every layer. */
const FACADE = 'shared/mod.ts'
/** The face, and what it is composed of: where siblings meet inside of shared/. */
const FACES: readonly string[] = [FACADE, 'shared/create_client.ts']

/** Which top folders a file in a top folder may import from. */
const AREAS: Readonly<Record<string, readonly string[]>> = {
  shared: ['shared'],
  functions: ['shared', 'functions'],
  infra: ['shared', 'functions', 'infra'],
  tests: ['shared', 'functions', 'infra', 'tests'],
}

/** Packages with one home: a second importer would be a second codec, or a second engine without the mutex. */
const HOMES: readonly { name: string; home: RegExp; requirement: string }[] = [
  {
    name: '@msgpack/msgpack',
    home: /^(shared\/wire\/codec|tests\/unit\/wire\/msgpack_interop\.test)\.ts$/,
    requirement: 'only shared/wire/codec.ts may',
  },
  { name: 'onnxruntime-web', home: /^(shared\/engine|tests)\//, requirement: 'only shared/engine/ and tests/ may' },
]

/** Adapters, named after what they adapt: the only files in shared/ that need not run everywhere. */
const NODE_ADAPTER = /(^|\/)((sqlite|file|tcp)_[^/]*|[^/]*_node)\.ts$/

export interface Import {
  specifier: string
  line: number
  /** `import type` or `export type`: erased, so it cannot close a cycle at run time. */
  typeOnly: boolean
}

export interface Source {
  imports: Import[]
  /** Lines with an `any` in a type. */
  anyLines: number[]
}

/** Reads what a TypeScript file imports: static, dynamic with a literal, re-exported, and `import('…')` in types. */
export function readSource(path: string, text: string): Source {
  const source: Source = { imports: [], anyLines: [] }
  const lineOf = (node: Node) => text.slice(0, node.start).split('\n').length
  visit(parseAst(text, { lang: path.endsWith('x') ? 'tsx' : 'ts' }, path), (node) => {
    if (node.type === 'TSAnyKeyword') source.anyLines.push(lineOf(node))
    const specifier = IMPORTING.has(node.type) ? literal(node.source, text) : undefined
    if (specifier === undefined) return
    // `import { type A }` without the leading `type` still loads the module: only whole declarations are erased.
    const typeOnly = node.type === 'TSImportType' || node.importKind === 'type' || node.exportKind === 'type'
    source.imports.push({ specifier, line: lineOf(node), typeOnly })
  })
  return source
}

/**
 * Checks the direction of imports, the homes of packages, cycles and the absence of `any`.
 * @param files text by path from the repository's root, with forward slashes
 * @returns one line per violation, `file:line: Cannot …: …`, ordered by file and line
 */
export function checkImports(files: ReadonlyMap<string, string>): string[] {
  const violations: Violation[] = []
  const graph = new Map<string, Edge[]>()
  for (const [path, text] of files) {
    const report = (line: number, message: string) => violations.push({ path, line, message })
    let source: Source
    try {
      source = readSource(path, text)
    } catch (error) {
      report(1, `Cannot read the imports: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`)
      continue
    }
    const edges: Edge[] = []
    graph.set(path, edges)
    if (!isPlaced(path)) report(1, `Cannot place the file: shared/ holds ${FACADE} and the layers ${LAYER_ORDER}`)
    for (const line of source.anyLines) report(line, 'Cannot use any: give the type, or unknown and a check')
    for (const { specifier, line, typeOnly } of source.imports) {
      const target = resolve(path, specifier)
      const requirement = target === undefined ? refusePackage(path, specifier) : refuseFile(path, target)
      if (requirement) report(line, `Cannot import ${target ?? `"${specifier}"`}: ${requirement}`)
      if (target !== undefined && !typeOnly && files.has(target)) edges.push({ target, line })
    }
  }
  violations.push(...findCycles(graph))
  violations.sort((a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : a.line - b.line)
  return violations.map(({ path, line, message }) => `${path}:${line}: ${message}`)
}

interface Violation {
  path: string
  line: number
  message: string
}

interface Edge {
  target: string
  line: number
}

/** The file that a specifier names, or undefined for a package. */
function resolve(path: string, specifier: string): string | undefined {
  if (specifier === 'shoal') return FACADE
  return /^\.{1,2}\//.test(specifier) ? posix.join(posix.dirname(path), specifier) : undefined
}

function refusePackage(path: string, specifier: string): string | undefined {
  if (path.startsWith('shared/') && isBuiltin(specifier) && !NODE_ADAPTER.test(path)) {
    return 'in shared/ only adapters named sqlite_*, file_*, tcp_* or *_node may use Node'
  }
  const home = HOMES.find(({ name }) => specifier === name || specifier.startsWith(`${name}/`))
  return home && !home.home.test(path) ? home.requirement : undefined
}

function refuseFile(path: string, target: string): string | undefined {
  const [from, to] = [areaOf(path), areaOf(target)]
  const allowed = AREAS[from] ?? []
  if (to in AREAS && !allowed.includes(to)) return `${from}/ may import only ${allowed.join(', ')}`
  if (from !== 'shared' || to !== 'shared' || FACES.includes(path)) return undefined
  if (FACES.includes(target)) return `inside shared/ the layers are imported, not ${target}`
  const [source, goal] = [layerOf(path), layerOf(target)]
  if (source === goal || rankOf(goal) < rankOf(source)) return undefined
  return rankOf(goal) === rankOf(source)
    ? `${source} and ${goal} are siblings and meet only in functions/`
    : `${source} stands left of ${goal} in ${LAYER_ORDER}`
}

function areaOf(path: string): string {
  return path.split('/', 1)[0] ?? ''
}

function layerOf(path: string): string {
  return path.split('/')[1] ?? ''
}

function rankOf(layer: string): number {
  return LAYERS.findIndex((names) => names.includes(layer))
}

function isPlaced(path: string): boolean {
  return areaOf(path) !== 'shared' || FACES.includes(path) || (path.split('/').length > 2 && rankOf(layerOf(path)) >= 0)
}

/** Every cycle that a depth-first walk closes, each reported at the import that closes it. */
function findCycles(graph: ReadonlyMap<string, readonly Edge[]>): Violation[] {
  const violations: Violation[] = []
  const done = new Set<string>()
  const trail: string[] = []
  const walk = (path: string) => {
    trail.push(path)
    for (const { target, line } of graph.get(path) ?? []) {
      const start = trail.indexOf(target)
      if (start >= 0) {
        const cycle = [...trail.slice(start), target].join(' → ')
        violations.push({ path, line, message: `Cannot import ${target}: that closes the cycle ${cycle}` })
      } else if (!done.has(target)) walk(target)
    }
    trail.pop()
    done.add(path)
  }
  for (const path of graph.keys()) if (!done.has(path)) walk(path)
  return violations
}

/** Nodes that load another module, or a type of it, by the literal in `source`. */
const IMPORTING = new Set([
  'ImportDeclaration',
  'ExportNamedDeclaration',
  'ExportAllDeclaration',
  'ImportExpression',
  'TSImportType',
])

/** As much of an ESTree node as the rules look at. */
interface Node {
  type: string
  start: number
  end: number
  [key: string]: unknown
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

function visit(value: unknown, enter: (node: Node) => void): void {
  if (Array.isArray(value)) { for (const item of value) visit(item, enter) }
  else if (isNode(value)) {
    enter(value)
    for (const child of Object.values(value)) if (typeof child === 'object') visit(child, enter)
  }
}

/** The text of a string literal, or of a template without holes. */
function literal(value: unknown, text: string): string | undefined {
  if (!isNode(value)) return undefined
  if (typeof value.value === 'string') return value.value
  const isPlainTemplate = Array.isArray(value.expressions) && value.expressions.length === 0
  return isPlainTemplate ? text.slice(value.start + 1, value.end - 1) : undefined
}

/** Every TypeScript file of the repository, by path from its root. */
export function readTree(root: string): Map<string, string> {
  const files = new Map<string, string>()
  for (const area of Object.keys(AREAS)) {
    if (!existsSync(join(root, area))) continue
    for (const name of readdirSync(join(root, area), { recursive: true, encoding: 'utf8' }).sort()) {
      const path = posix.join(area, name.replaceAll('\\', '/'))
      if (!/\.(ts|tsx|mts)$/.test(path) || /(^|\/)(node_modules|dist)\//.test(path)) continue
      files.set(path, readFileSync(join(root, path), 'utf8'))
    }
  }
  return files
}

if (import.meta.main) {
  const files = readTree(ROOT)
  const violations = checkImports(files)
  for (const violation of violations) console.error(violation)
  console.log(`${files.size} files, ${violations.length} violations`)
  process.exitCode = violations.length > 0 ? 1 : 0
}
