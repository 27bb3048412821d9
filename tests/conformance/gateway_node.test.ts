import { gatewaySuite } from './gateway_suite.ts'
import { joinByCli, startByCli } from './start_cli_gateway.ts'

gatewaySuite('gateway and worker on Node, by the command line', startByCli, { join: joinByCli })
