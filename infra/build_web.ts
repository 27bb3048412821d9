import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { build } from 'esbuild'

/** What browsers load, by the name it has in dist/assets. */
const ENTRIES: Readonly<Record<string, string>> = {
  console_page: 'functions/console/console_page.ts',
  engine_worker: 'functions/worker/engine_worker.ts',
  join_page: 'functions/worker/join_page.ts',
  join_timer: 'functions/worker/join_timer.ts',
}

/** Folders whose pages, style sheets and pictures are copied as they are. */
const PAGE_FOLDERS = ['functions/console', 'functions/worker', 'functions/demo']

/** Files of onnxruntime-web, each with the script that loads it. Asyncify's .wasm is too large unless compressed. */
const ORT_FILES = [
  { name: 'ort.jspi.bundle.min.mjs', compress: false },
  { name: 'ort-wasm-simd-threaded.jspi.wasm', compress: false },
  { name: 'ort.webgpu.bundle.min.mjs', compress: false },
  { name: 'ort-wasm-simd-threaded.asyncify.wasm', compress: true },
  { name: 'ort.wasm.bundle.min.mjs', compress: false },
  { name: 'ort-wasm-simd-threaded.wasm', compress: false },
]

/** Cloudflare Workers refuse a static asset above this. */
const MAX_ASSET_BYTES = 25 * 1024 * 1024

const ROOT = dirname(import.meta.dirname)
const ASSETS = join(ROOT, 'dist/assets')

/**
 * Bundles the browser's scripts, copies its pages and ONNX Runtime's files, all into dist/assets. What is up to date
 * is left alone, so that it may run before every start; each file is replaced in one step, so that a server may be
 * reading it meanwhile.
 * @throws Error if a source does not compile or a file is too large to be served at the edge
 */
export async function buildWeb(): Promise<void> {
  await Promise.all([bundleEntries(), copyPages(), copyOrt()])
  await checkSizes(ASSETS)
}

async function bundleEntries(): Promise<void> {
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES,
    outdir: ASSETS,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    // The oldest browsers that have WebGPU, Float16Array and Promise.withResolvers.
    target: ['chrome135', 'firefox129', 'safari18.2'],
    minify: true,
    sourcemap: true,
    write: false,
    logLevel: 'warning',
  })
  await Promise.all(result.outputFiles.map(({ path, contents }) => writeIfChanged(path, contents)))
}

async function copyPages(): Promise<void> {
  for (const folder of PAGE_FOLDERS.map((name) => join(ROOT, name)).filter((path) => existsSync(path))) {
    for (const name of await readdir(folder)) {
      if (/\.(html|css|svg|png)$/.test(name)) {
        await writeIfChanged(join(ASSETS, name), await readFile(join(folder, name)))
      }
    }
  }
}

async function copyOrt(): Promise<void> {
  const source = join(ROOT, 'node_modules/onnxruntime-web')
  const { version }: { version: string } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8'))
  const stamp = join(ASSETS, 'ort/version.txt')
  const targets = ORT_FILES.map(({ name, compress }) => ({
    from: join(source, 'dist', name),
    to: join(ASSETS, 'ort', compress ? `${name}.gz` : name),
    compress,
  }))
  const upToDate = existsSync(stamp) && await readFile(stamp, 'utf8') === version
  if (upToDate && targets.every(({ to }) => existsSync(to))) return
  for (const { from, to, compress } of targets) {
    const bytes = await readFile(from)
    await replace(to, compress ? await promisify(gzip)(bytes, { level: 9 }) : bytes)
  }
  // Last, so that an interrupted copy is made again.
  await replace(stamp, version)
}

async function checkSizes(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const { size } = await stat(path)
    if (size >= MAX_ASSET_BYTES) {
      throw new Error(
        `Cannot ship ${relative(ROOT, path)}: an asset must be smaller than ${MAX_ASSET_BYTES} bytes, got ${size}`,
      )
    }
  }
}

async function writeIfChanged(path: string, bytes: Uint8Array): Promise<void> {
  if (existsSync(path) && (await readFile(path)).equals(bytes)) return
  await replace(path, bytes)
}

async function replace(path: string, contents: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const draft = join(dirname(ASSETS), `.${basename(path)}.${randomUUID()}`)
  await writeFile(draft, contents)
  await rename(draft, path)
}

if (import.meta.main) await buildWeb()
