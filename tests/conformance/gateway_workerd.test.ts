import { startWorkerdGateway } from '../runtime/start_workerd_gateway.ts'
import { gatewaySuite } from './gateway_suite.ts'

gatewaySuite('gateway on Cloudflare Workers', startWorkerdGateway, {
  forgetsBrokenRequests: true,
  hasNoProcess: true,
  platformPacks: true,
  keepsSockets: false,
})
