import { Hono } from 'hono'
import type { GatewayDeps } from '../deps.ts'

/**
 * What pages may do: run their own scripts and WebAssembly, talk to this gateway. COOP and COEP isolate the page, which
 * threaded WebAssembly needs.
 */
export const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval' blob:",
    "worker-src 'self' blob:",
    "connect-src 'self' ws: wss:",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
}

/** The console at `/`, the page that enrols a tab at `/join`, and what they load. */
export function pages(deps: GatewayDeps): Hono {
  const app = new Hono()
  const page = (path: string) => async () =>
    withHeaders(await deps.assets(path), { ...PAGE_HEADERS, 'cache-control': 'no-cache' })
  app.get('/', page('/assets/console.html'))
  app.get('/join', page('/assets/join.html'))
  app.get('/assets/*', async (context) => withHeaders(await deps.assets(context.req.path), PAGE_HEADERS))
  return app
}

function withHeaders(response: Response, headers: Record<string, string>): Response {
  const merged = new Headers(response.headers)
  for (const [name, value] of Object.entries(headers)) merged.set(name, value)
  return new Response(response.body, { status: response.status, headers: merged })
}
