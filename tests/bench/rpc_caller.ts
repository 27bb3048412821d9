/** `rpc_caller.ts NAME PORT`: calls the server of a candidate, and tells what it measured whenever it is asked. */
import process from 'node:process'
import { isDeepStrictEqual } from 'node:util'
import { closedLoop } from './figures.ts'
import { ready } from './ready.ts'
import { MESSAGE } from './rpc_contract.ts'
import type { RpcPeer } from './rpc_peers/peer.ts'

const [, , name, port] = process.argv
const { peer } = await import(`./rpc_peers/${name}.ts`) as { peer: RpcPeer }
const call = await peer.connect(Number(port))

const answer = await call()
if (!isDeepStrictEqual(typeof answer === 'string' ? JSON.parse(answer) : { ...answer as object }, MESSAGE)) {
  throw new Error(`Cannot measure ${name}: it must echo the record, got ${JSON.stringify(answer)}`)
}

process.on(
  'message',
  ({ callers, forMs }: { callers: number; forMs?: number }) => {
    if (forMs === undefined) return
    closedLoop(call, callers, forMs).then(
      (measured) => process.send?.(measured),
      (thrown) => process.send?.({ failure: String(thrown) }),
    )
  },
)
ready(0)
