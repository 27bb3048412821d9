/** `platformatic.ts BACKEND_PORT`: Platformatic's gateway, every path to one application. */
import process from 'node:process'
import { create } from '@platformatic/gateway'
import { ready } from '../ready.ts'

const gateway = await create(import.meta.dirname, {
  $schema: 'https://schemas.platformatic.dev/@platformatic/gateway/3.54.0.json',
  server: { hostname: '127.0.0.1', port: 0, logger: { level: 'silent' } },
  gateway: {
    applications: [{
      id: 'echo',
      origin: `http://127.0.0.1:${process.argv[2]}`,
      proxy: { prefix: '/' },
    }],
    refreshTimeout: 0,
  },
})
await gateway.start({ listen: true })
ready(Number(new URL(gateway.getUrl()).port))
