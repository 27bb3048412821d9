/**
 * The little of the peers' APIs that the benchmarks use: `npm test` checks types where no peer is installed. An ambient
 * declaration also comes before an installed one, so that both give the same answer.
 */
declare module '@grpc/grpc-js' {
  export type HandleUnary = (
    call: { request: unknown },
    answer: (error: null, value: unknown) => void,
  ) => void
  export interface UnaryClient {
    Echo(
      message: unknown,
      answer: (error: Error | null, value: unknown) => void,
    ): void
  }
  interface UnaryClientConstructor {
    new (address: string, credentials: unknown): UnaryClient
    readonly service: unknown
  }
  export const credentials: { createInsecure(): unknown }
  export const ServerCredentials: { createInsecure(): unknown }
  export function loadPackageDefinition(
    definition: unknown,
  ): { bench: { Echo: UnaryClientConstructor } }
  export class Server {
    addService(service: unknown, handlers: Record<string, HandleUnary>): void
    bindAsync(
      address: string,
      credentials: unknown,
      done: (error: Error | null, port: number) => void,
    ): void
  }
}

declare module '@grpc/proto-loader' {
  export function load(path: string): Promise<unknown>
}

declare module '@connectrpc/connect' {
  interface Record {
    id: number
    name: string
    tags: string[]
  }
  export function createClient(
    service: unknown,
    transport: unknown,
  ): { echo(message: Record): Promise<Record> }
}

declare module '@connectrpc/connect-node' {
  import type { RequestListener } from 'node:http'
  interface Record {
    id: number
    name: string
    tags: string[]
  }
  interface Router {
    service(
      service: unknown,
      handlers: { echo(message: Record): Record },
    ): Router
  }
  export function connectNodeAdapter(
    options: { routes(router: Router): Router },
  ): RequestListener & (() => void)
  export function createConnectTransport(
    options: { baseUrl: string; httpVersion: '1.1' | '2' },
  ): unknown
}

declare module '@trpc/server' {
  interface Procedure {
    input(schema: unknown): Procedure
    output(schema: unknown): Procedure
    mutation(resolve: (options: { input: unknown }) => unknown): unknown
  }
  export const initTRPC: {
    create(): {
      router(procedures: Record<string, unknown>): unknown
      procedure: Procedure
    }
  }
}

declare module '@trpc/server/adapters/standalone' {
  import type { Server } from 'node:http'
  export function createHTTPServer(options: { router: unknown }): Server
}

declare module '@trpc/server/adapters/ws' {
  export function applyWSSHandler(
    options: { wss: unknown; router: unknown },
  ): void
}

declare module '@trpc/client' {
  export type Link = { readonly link: unique symbol }
  export function httpLink(options: { url: string }): Link
  export function httpBatchLink(options: { url: string }): Link
  export function wsLink(options: { client: unknown }): Link
  export function createWSClient(
    options: { url: string; WebSocket: unknown },
  ): unknown
  export function createTRPCClient<T>(options: { links: Link[] }): T
}

declare module 'capnweb' {
  export class RpcTarget {}
  export function newWebSocketRpcSession<T>(
    socket: unknown,
    main?: RpcTarget,
  ): { [K in keyof T]: T[K] }
}

declare module 'moleculer' {
  export class ServiceBroker {
    constructor(
      options: { nodeID: string; transporter: string; logger: false },
    )
    createService(schema: {
      name: string
      mixins?: readonly unknown[]
      settings?: unknown
      actions?: Record<
        string,
        { params: unknown; handler(context: { params: unknown }): unknown }
      >
    }): void
    start(): Promise<void>
    waitForServices(name: string): Promise<void>
    call(action: string, params: unknown): Promise<unknown>
  }
}

declare module 'moleculer-web' {
  const ApiGateway: unknown
  export default ApiGateway
}

declare module 'fast-gateway' {
  export default function fastGateway(options: {
    routes: readonly {
      prefix: string
      prefixRewrite: string
      target: string
    }[]
  }): { start(port: number, host: string): Promise<unknown> }
}

declare module '@platformatic/gateway' {
  export function create(
    root: string,
    config: unknown,
  ): Promise<
    { start(options: { listen: boolean }): Promise<unknown>; getUrl(): string }
  >
}

declare module 'ioredis' {
  export class Redis {
    constructor(url: string, options?: { maxRetriesPerRequest: null })
    disconnect(): void
  }
}

declare module 'bullmq' {
  import type { Redis } from 'ioredis'
  interface BullJob {
    id: string
    data: unknown
    returnvalue: unknown
  }
  interface BullOptions {
    attempts: number
    backoff: { type: string; delay: number }
  }
  export class Queue {
    constructor(name: string, options: { connection: Redis })
    add(name: string, data: unknown, options: BullOptions): Promise<BullJob>
    addBulk(jobs: readonly { name: string; data: unknown; opts: BullOptions }[]): Promise<BullJob[]>
    close(): Promise<void>
  }
  export class Worker {
    constructor(
      name: string,
      work: (job: BullJob) => Promise<unknown>,
      options: { connection: Redis; concurrency: number },
    )
    on(event: 'completed', listener: () => void): void
    waitUntilReady(): Promise<unknown>
    close(): Promise<void>
  }
  export const Job: { fromId(queue: Queue, id: string): Promise<BullJob | undefined> }
}
