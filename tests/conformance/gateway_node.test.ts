import { gatewaySuite } from './gateway_suite.ts'
import { startInProcess } from './start_node_gateway.ts'

gatewaySuite('gateway on Node', startInProcess)
