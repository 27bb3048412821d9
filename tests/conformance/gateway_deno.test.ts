import { gatewaySuite } from './gateway_suite.ts'
import { startOnDeno } from './start_deno_gateway.ts'

gatewaySuite('gateway on Deno', startOnDeno)
