/** A function that is Shoal's, as anyone would run it on Node: `function_backend.ts GATEWAY_PORT`, or none to stay alone. */
import '../../functions/node_heap.ts'
import process from 'node:process'
import { runOnNode } from '../../functions/run_node.ts'
import { serve } from '../../shared/registry/serve.ts'
import { defineService, unary } from '../../shared/rpc/contract.ts'
import { ready } from './ready.ts'
import { Record } from './rpc_contract.ts'

const Echo = defineService({
  name: 'bench.Function',
  version: '1.0.0',
  methods: { echo: unary({ input: Record, output: Record, idempotent: true }) },
})
const echo = serve(Echo, { echo: (input) => input })
const [, , gatewayPort] = process.argv
const { port } = await runOnNode(echo, { env: { SHOAL_GATEWAY: gatewayPort && `http://127.0.0.1:${gatewayPort}` } })
if (echo.lease.failure) throw echo.lease.failure
ready(port)
