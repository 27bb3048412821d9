import { createTRPCClient, createWSClient, httpBatchLink, httpLink, type Link, wsLink } from '@trpc/client'
import { initTRPC } from '@trpc/server'
import { createHTTPServer } from '@trpc/server/adapters/standalone'
import { applyWSSHandler } from '@trpc/server/adapters/ws'
import { WebSocket, WebSocketServer } from 'ws'
import { MESSAGE, Record } from '../rpc_contract.ts'
import { listen } from './listen.ts'
import type { RpcPeer } from './peer.ts'

const LINKS = {
  http: (port: number) => httpLink({ url: `http://127.0.0.1:${port}` }),
  batch: (port: number) => httpBatchLink({ url: `http://127.0.0.1:${port}` }),
  // With `ws` as Shoal's own callers: it is the faster of the two sockets that Node has.
  socket: (port: number) =>
    wsLink({
      client: createWSClient({ url: `ws://127.0.0.1:${port}`, WebSocket }),
    }),
} satisfies Record<string, (port: number) => Link>

/** tRPC with one of its links. */
export function trpcPeer(link: keyof typeof LINKS): RpcPeer {
  return {
    serve() {
      const t = initTRPC.create()
      const router = t.router({
        echo: t.procedure.input(Record).output(Record).mutation(({ input }) => input),
      })
      const server = createHTTPServer({ router })
      applyWSSHandler({
        wss: new WebSocketServer({ server, perMessageDeflate: false }),
        router,
      })
      return listen(server)
    },
    connect(port) {
      const client = createTRPCClient<
        { echo: { mutate(input: unknown): Promise<unknown> } }
      >({
        links: [LINKS[link](port)],
      })
      return Promise.resolve(() => client.echo.mutate(MESSAGE))
    },
  }
}
