/** A service without Shoal: sends back whatever JSON it is sent. What is left to measure is who stands before it. */
import { listen } from './rpc_peers/listen.ts'
import { createEcho } from './rpc_peers/node_http.ts'
import { ready } from './ready.ts'

const server = createEcho()
// Gateways keep connections open between rounds.
server.keepAliveTimeout = 120_000
ready(await listen(server))
