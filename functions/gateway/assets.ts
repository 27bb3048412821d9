import { open } from 'node:fs/promises'
import { extname, join, normalize, sep } from 'node:path'
import { streamOfFile } from '../../shared/models/file_blob_store.ts'
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
    const place = pathBelow(normalize(root), path)
    const file = place === undefined ? undefined : await open(place).catch(() => undefined)
    if (place === undefined || !file) throw missing
    const found = await file.stat()
    if (!found.isFile()) {
      await file.close()
      throw missing
    }
    return new Response(streamOfFile(file), {
      headers: {
        'content-type': TYPES[extname(place)] ?? 'application/octet-stream',
        'content-length': String(found.size),
        'last-modified': found.mtime.toUTCString(),
        'cache-control': 'no-cache',
      },
    })
  }
}

/** The file that a path names; undefined if it lies outside of `root` or is malformed. */
function pathBelow(root: string, path: string): string | undefined {
  try {
    const file = join(root, decodeURIComponent(path).replace(/^\/assets\//, '/'))
    return file.startsWith(root + sep) && !file.includes('\0') ? file : undefined
  } catch {
    return undefined
  }
}
