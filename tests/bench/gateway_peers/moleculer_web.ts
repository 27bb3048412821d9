/** moleculer-web, over NATS to a service in another process. */
import ApiGateway from 'moleculer-web'
import { freePort } from '../programs.ts'
import { openBroker } from '../rpc_peers/moleculer.ts'
import { ready } from '../ready.ts'

const port = await freePort()
const broker = openBroker('gateway')
broker.createService({
  name: 'api',
  mixins: [ApiGateway],
  settings: {
    ip: '127.0.0.1',
    port,
    routes: [{
      path: '/rpc',
      aliases: { 'POST bench.Echo/echo': 'echo.echo' },
      bodyParsers: { json: true },
    }],
  },
})
await broker.start()
await broker.waitForServices('echo')
ready(port)
