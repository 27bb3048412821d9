/** `rpc_server.ts NAME`: the server of one candidate of the rpc benchmark. */
import process from 'node:process'
import type { RpcPeer } from './rpc_peers/peer.ts'
import { ready } from './ready.ts'

const { peer } = await import(`./rpc_peers/${process.argv[2]}.ts`) as {
  peer: RpcPeer
}
ready(await peer.serve())
