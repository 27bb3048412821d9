/** The service behind moleculer-web: Moleculer's gateway calls services of its own kind, not HTTP. */
import { startEchoNode } from '../rpc_peers/moleculer.ts'
import { ready } from '../ready.ts'

await startEchoNode()
ready(0)
