/** `fast_gateway.ts BACKEND_PORT` */
import process from 'node:process'
import fastGateway from 'fast-gateway'
import { freePort } from '../programs.ts'
import { ready } from '../ready.ts'

const port = await freePort()
const gateway = fastGateway({
  routes: [{
    prefix: '/rpc',
    prefixRewrite: '/rpc',
    target: `http://127.0.0.1:${process.argv[2]}`,
  }],
})
await gateway.start(port, '127.0.0.1')
ready(port)
