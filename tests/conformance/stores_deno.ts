/** Runs the stores' suites where it is started and prints a report. Arguments: Redis's URL, its REST front's, its token. */
import { runSuites } from '../suite.ts'
import { embeddedSuites } from './stores_embedded.ts'
import { restSuites } from './stores_rest.ts'
import { tcpSuites } from './stores_tcp.ts'

const [redisUrl = '', url = '', token = ''] = process.argv.slice(2)
const results = await runSuites([
  ...embeddedSuites,
  ...tcpSuites('Redis over TCP', () => redisUrl),
  ...restSuites(() => ({ url, token })),
])
console.log(JSON.stringify({ userAgent: navigator.userAgent, results }))
