/** The part of Cloudflare's runtime module and globals that is used: all of its ambient types would replace the DOM's. */
declare module 'cloudflare:workers' {
  import type { DurableObjectState } from '@cloudflare/workers-types/index.ts'

  export abstract class DurableObject<Env> {
    constructor(ctx: DurableObjectState, env: Env)
    protected readonly ctx: DurableObjectState
    protected readonly env: Env
  }
  /** Keeps the work of the request at hand alive after its answer, or its caller, has gone: for up to 30 s. */
  export function waitUntil(work: Promise<unknown>): void
}

declare const WebSocketPair: new () => Record<0 | 1, import('@cloudflare/workers-types/index.ts').WebSocket>
declare const WebSocketRequestResponsePair:
  typeof import('@cloudflare/workers-types/index.ts').WebSocketRequestResponsePair
