import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { extname, join, normalize } from 'node:path'
import { Readable } from 'node:stream'
import { RpcError } from '../../shared/wire/errors.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.map': 'application/json',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.gz': 'application/gzip',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
}

/** Serves files of a folder (Node and Deno); on Cloudflare the platform does. Paths begin with /assets/. */
export function fileAssets(root: string): (path: string) => Promise<Response> {
  return async (path) => {
    const missing = new RpcError('not_found', `Cannot find ${path}: no such file`)
    const file = normalize(join(root, decodeURIComponent(path).replace(/^\/assets\//, '/')))
    if (!file.startsWith(normalize(root)) || file.includes('\0')) throw missing
    const found = await stat(file).catch(() => undefined)
    if (!found?.isFile()) throw missing
    return new Response(Readable.toWeb(createReadStream(file)) as ReadableStream, {
      headers: {
        'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
        'content-length': String(found.size),
        'last-modified': found.mtime.toUTCString(),
        'cache-control': 'no-cache',
      },
    })
  }
}
