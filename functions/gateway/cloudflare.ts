/** The gateway on Cloudflare Workers: deployed by `wrangler deploy`, run locally by `npm run dev:workers`. */
import { waitUntil } from 'cloudflare:workers'
import type { Hono } from 'hono'
import { createGateway } from './app.ts'
import { cloudflarePlatform, type GatewayEnv } from './cloudflare_platform.ts'
import { wireGateway } from './wire.ts'

export { Relay } from '../relay/durable_object.ts'

/** One gateway for all requests of an isolate, so that they share its table of the registry and its manifests. */
const gateways = new WeakMap<GatewayEnv, Hono>()

export default {
  fetch(request: Request, env: GatewayEnv): Response | Promise<Response> {
    let app = gateways.get(env)
    if (!app) gateways.set(env, app = createGateway(wireGateway(cloudflarePlatform(env, waitUntil))))
    return app.fetch(request, env)
  },
}
