import { Hono } from 'hono'
import * as z from 'zod'
import { encodeUtf8 } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { readOptions } from '../../../shared/models/model_options.ts'
import { readBody } from '../../../shared/rpc/http.ts'
import { decodeJson } from '../../../shared/wire/codec.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import { isVolunteer } from '../guard.ts'
import { toProblem } from './problem.ts'

/**
 * Models and their bytes: `PUT`, `PATCH` and `DELETE /models/{name}/versions/{v}`, `DELETE /models/{name}`,
 * `PUT` and `DELETE /models/{name}/aliases/{alias}`, `GET /models`, `GET /blobs/{sha256}`.
 */
export function models(deps: GatewayDeps): Hono {
  const app = new Hono()

  app.put('/models/:name/versions/:version', async (context) => {
    const { name, version } = context.req.param()
    const bytes = await readBody(context.req.raw, LIMITS.maxModelBytes)
    const manifest = await deps.catalog.push(name, version, bytes, {
      ...readOptions(readJsonHeader(context.req.header('shoal-options'))),
      labels: readLabels(context.req.header('shoal-labels')),
    })
    deps.log('info', 'model pushed', { name, version, sha256: manifest.sha256, bytes: manifest.bytes })
    return context.json(manifest)
  })

  // Changes what is said of a version: {"cache":{"ttlMs":60000,"maxBytes":1000000}} turns its result cache on.
  app.patch('/models/:name/versions/:version', async (context) => {
    const { name, version } = context.req.param()
    return context.json(await deps.catalog.amend(name, version, readOptions(await readJson(context.req.raw))))
  })

  for (const path of ['/models/:name', '/models/:name/versions/:version']) {
    app.delete(path, async (context) => {
      const { name, version } = context.req.param() as { name: string; version?: string }
      const deleted = await deps.catalog.delete(name, version)
      deps.log('info', 'model deleted', { name, versions: deleted.map((one) => one.version) })
      return context.json({ deleted: deleted.map((one) => ({ name, version: one.version, sha256: one.sha256 })) })
    })
  }

  app.put('/models/:name/aliases/:alias', async (context) => {
    const { name, alias } = context.req.param()
    const { version } = readAliasBody(await readJson(context.req.raw))
    await deps.catalog.setAlias(name, alias, version)
    deps.log('info', 'alias set', { name, alias, version })
    return context.json({ name, alias, version })
  })

  app.delete('/models/:name/aliases/:alias', async (context) => {
    const { name, alias } = context.req.param()
    await deps.catalog.deleteAlias(name, alias)
    return context.body(null, 204)
  })

  app.get('/models', async (context) => {
    const [models, aliases] = await Promise.all([deps.catalog.list(), deps.catalog.aliases()])
    return context.json({ models, aliases })
  })

  app.get('/blobs/:sha256', async (context) => {
    const { sha256 } = context.req.param()
    // The same words as for one that is not there: a volunteer is not told what exists.
    const blob = isVolunteer(context) && !await deps.catalog.isPublic(sha256)
      ? undefined
      : await deps.catalog.openBlob(sha256)
    if (!blob) throw new RpcError('not_found', `Cannot find blob ${sha256}: no model has that hash`)
    const headers: Record<string, string> = {
      'content-type': 'application/octet-stream',
      'content-length': String(blob.size),
      'accept-ranges': 'bytes',
      // Named by its hash: it can never change, but it may be private.
      'cache-control': 'private, max-age=31536000, immutable',
      etag: `"${sha256}"`,
    }
    const offset = startOf(context.req.header('range'))
    if (offset === undefined) return new Response(blob.stream, { headers })
    // What was opened is not read: its size alone was wanted.
    await blob.stream.cancel()
    if (offset >= blob.size) {
      return new Response(null, { status: 416, headers: { 'content-range': `bytes */${blob.size}` } })
    }
    const rest = await deps.catalog.openBlob(sha256, { offset, length: blob.size - offset })
    if (!rest) throw new RpcError('not_found', `Cannot find blob ${sha256}: no model has that hash`)
    headers['content-length'] = String(blob.size - offset)
    headers['content-range'] = `bytes ${offset}-${blob.size - 1}/${blob.size}`
    return new Response(rest.stream, { status: 206, headers })
  })

  app.onError((thrown) => toProblem(thrown))
  return app
}

async function readJson(request: Request): Promise<unknown> {
  return decodeJson(await readBody(request, LIMITS.maxManifestBytes))
}

export const aliasBody = z.strictObject({ version: z.string().max(LIMITS.maxNameLength) })

function readAliasBody(json: unknown): z.infer<typeof aliasBody> {
  const parsed = aliasBody.safeParse(json)
  if (parsed.success) return parsed.data
  throw invalid('Cannot set the alias: the body must be {"version": "…"}')
}

/** Options as a header carries them: percent-encoded JSON. */
function readJsonHeader(header: string | undefined): unknown {
  try {
    return header === undefined ? {} : decodeJson(encodeUtf8(decodeURIComponent(header)))
  } catch (cause) {
    throw invalid('Cannot push the model: shoal-options must be percent-encoded JSON', { cause })
  }
}

/** Labels as a header carries them: percent-encoded, with commas between. */
function readLabels(header: string | undefined): string[] | undefined {
  try {
    return header?.split(',').map(decodeURIComponent)
  } catch (cause) {
    throw invalid('Cannot push the model: shoal-labels must be percent-encoded texts with commas between', { cause })
  }
}

/** Where a download that was cut off goes on. Other ranges than to the end are left alone, as RFC 9110 allows. */
function startOf(range: string | undefined): number | undefined {
  const [, start] = /^bytes=(\d{1,15})-$/.exec(range ?? '') ?? []
  return start === undefined ? undefined : Number(start)
}
