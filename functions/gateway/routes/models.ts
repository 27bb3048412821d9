import { Hono } from 'hono'
import { LIMITS } from '../../../shared/base/limits.ts'
import { readBody } from '../../../shared/rpc/http.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import { toProblem } from './problem.ts'

/** Models and their bytes: `PUT /models/{name}/versions/{v}`, `GET /models`, `GET /blobs/{sha256}`. */
export function models(deps: GatewayDeps): Hono {
  const app = new Hono()

  app.put('/models/:name/versions/:version', async (context) => {
    const { name, version } = context.req.param()
    const bytes = await readBody(context.req.raw, LIMITS.maxModelBytes)
    const manifest = await deps.catalog.push(name, version, bytes, {
      labels: readLabels(context.req.header('shoal-labels')),
    })
    deps.log('info', 'model pushed', { name, version, sha256: manifest.sha256, bytes: manifest.bytes })
    return context.json(manifest)
  })

  app.get('/models', async (context) => context.json({ models: await deps.catalog.list() }))

  app.get('/blobs/:sha256', async (context) => {
    const { sha256 } = context.req.param()
    const blob = await deps.catalog.openBlob(sha256)
    if (!blob) throw new RpcError('not_found', `Cannot find blob ${sha256}: no model has that hash`)
    return new Response(blob.stream, {
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(blob.size),
        // Named by its hash: it can never change, but it may be private.
        'cache-control': 'private, max-age=31536000, immutable',
        etag: `"${sha256}"`,
      },
    })
  })

  app.onError((thrown) => toProblem(thrown))
  return app
}

/** Labels as a header carries them: percent-encoded, with commas between. */
function readLabels(header: string | undefined): string[] | undefined {
  try {
    return header?.split(',').map(decodeURIComponent)
  } catch (cause) {
    throw invalid('Cannot push the model: shoal-labels must be percent-encoded texts with commas between', { cause })
  }
}
