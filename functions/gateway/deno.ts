/** The gateway on Deno: `deno run -A functions/gateway/deno.ts --port 8787 --host 127.0.0.1 --data-dir .shoal`. */
import process from 'node:process'
import { atMost, systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { jsonLog } from '../../shared/base/log.ts'
import { SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { cannotListen } from '../cannot_listen.ts'
import { parse, wholeNumber } from '../cli/command.ts'
import { lineOf } from '../cli/commands.ts'
import { type HostOptions, openHostGateway, type OpenLink, type Upgrade } from './host.ts'

const upgrade: Upgrade = (context, open) => {
  const { socket, response } = Deno.upgradeWebSocket(context.req.raw, { protocol: SUBPROTOCOL })
  socket.binaryType = 'arraybuffer'
  socket.addEventListener('open', () => attach(socket, open))
  return response
}

/** Deno's own: the web's types know of no headers. */
function openSocket(url: string, headers: Readonly<Record<string, string>>): WebSocket {
  return new WebSocket(url, { protocols: [SUBPROTOCOL], headers } as unknown as string[])
}

function attach(socket: WebSocket, open: OpenLink): void {
  const end = open({
    write: (message) => socket.send(message),
    close: (code, reason) => socket.close(code, reason),
    save() {},
  })
  socket.addEventListener('message', ({ data }) => end?.receive(typeof data === 'string' ? data : new Uint8Array(data)))
  socket.addEventListener('close', ({ code }) => end?.end(`socket closed with ${code}`))
}

const HELP = `Runs a gateway on Deno, without a worker of its own and without demo models.

Usage: deno run -A functions/gateway/deno.ts [--port 8787] [--host 127.0.0.1] [--data-dir .shoal]

The options, and the variables that it reads, are those of shoal start.
`

async function main(): Promise<void> {
  const { values } = parse(Deno.args, {
    port: { type: 'string', default: String(DEFAULTS.port) },
    host: { type: 'string', default: DEFAULTS.host },
    'data-dir': { type: 'string', default: DEFAULTS.dataDir },
    help: { type: 'boolean', short: 'h', default: false },
  }, 0)
  if (values.help) return void process.stdout.write(HELP)
  const env = Deno.env.toObject()
  const options = {
    host: values.host,
    port: wholeNumber('port', values.port, 0, 65535),
    dataDir: values['data-dir'],
    env,
    log: jsonLog('warn'),
    openSocket,
  }
  const gateway = await openHostGateway(options, upgrade)
  const server = listen(options, gateway.app.fetch)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    Deno.addSignalListener(signal, async () => {
      await gateway.close()
      // Whoever neither finishes nor hangs up must not keep the process.
      await atMost(systemClock, DEFAULTS.drainMs, server.shutdown())
      process.exit(0)
    })
  }
}

function listen(options: HostOptions, fetch: (request: Request) => Response | Promise<Response>): Deno.HttpServer {
  const { host, port } = options
  try {
    return Deno.serve({
      hostname: host,
      port,
      onListen: (address) => console.log(`shoal ready http://${host}:${address.port}`),
    }, fetch)
  } catch (cause) {
    throw cannotListen(host, port, cause)
  }
}

main().catch((thrown) => {
  console.error(lineOf(thrown, ['gateway']))
  process.exit(1)
})
