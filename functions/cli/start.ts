import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { jsonLog } from '../../shared/base/log.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { createKey } from '../../shared/stores/keys.ts'
import { DEMO_MODEL_NAME, DIGITS_LABELS, DIGITS_MODEL_NAME, readDemoModel, readDigitsModel } from '../demo/files.ts'
import type { LocalRelay } from '../gateway/host.ts'
import { startNodeGateway } from '../gateway/node.ts'
import { type HostWorker, startHostWorker } from '../worker/host_worker.ts'
import { type Command, type GatewayAccess, parse, wholeNumber } from './command.ts'
import { DEMO_VERSION, runDemo } from './demo.ts'
import { request } from './request.ts'
import { onStopSignal } from './stop_signal.ts'
import { sayChanges } from './text.ts'

const HELP = `Runs a gateway, a relay, a store and a local worker in one process, with two demo models.

Usage: shoal start [--port ${DEFAULTS.port}] [--host ${DEFAULTS.host}] [--data-dir ${DEFAULTS.dataDir}] [--workers 1] [--no-demo]
       npm start -- --port 8080

  --port N         0 takes a free one
  --host ADDRESS   any address but loopback requires a key: shoal keys create
  --data-dir DIR   models, leases, keys
  --workers N      local WebAssembly workers; 0 starts none
  --no-demo        does not push the demo models
  --verbose        logs as JSON lines on stderr

Store: UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN (REST), or REDIS_URL (TCP), else SQLite in --data-dir.
SHOAL_ZONE        where this runs: calls stay in the zone while those in it can carry them
SHOAL_SPOT_CHECKS part of the calls that a second worker computes again, to find out who lies (default 0.005; 0: none)
SHOAL_ROUTING     how calls are routed, by service, as JSON: {"demo.Hello":{"balancer":"round_robin","hedge":true}}
`

export const start: Command = {
  summary: 'runs a gateway with a local worker',
  help: HELP,
  async run(args) {
    const { values } = parse(args, {
      port: { type: 'string', default: String(DEFAULTS.port) },
      host: { type: 'string', default: DEFAULTS.host },
      'data-dir': { type: 'string', default: DEFAULTS.dataDir },
      workers: { type: 'string', default: '1' },
      'no-demo': { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
    }, 0)
    const port = wholeNumber('port', values.port, 0, 65535)
    const count = wholeNumber('workers', values.workers, 0, 64)
    const dataDir = values['data-dir']
    const log = jsonLog(values.verbose ? 'info' : 'error')
    const own = await createKey(['admin'], systemClock)
    const gateway = await startNodeGateway({
      host: values.host,
      port,
      dataDir,
      env: process.env,
      log,
      ownKey: own.record,
    })

    const url = gateway.url.replace('0.0.0.0', '127.0.0.1').replace('[::]', '[::1]')
    const access = { url, key: own.text, headers: { authorization: `Bearer ${own.text}` } }
    const workers: HostWorker[] = []
    onStopSignal(async () => {
      say('stopping: finishing what is in flight')
      await gateway.close(async () => void await Promise.all(workers.map((worker) => worker.stop())))
    })

    say(`store    ${gateway.store}`)
    say(`keys     ${gateway.mode === 'keys' ? 'required' : 'none needed on loopback'}`)
    const demo = !values['no-demo'] && await pushDemos(access)
    for (let i = 0; i < count; i++) {
      workers.push(await joinLocally(access, `local-${i + 1}`, join(dataDir, 'cache'), log, gateway.local))
    }
    if (count > 0 && demo) await runDemo(access, say)
    say(`shoal ready ${url}`)
    say(nextLines(url, gateway.mode === 'keys', { demo: count > 0 && demo, workers: count }))
    for (const address of addressesOf(values.host)) {
      say(`  elsewhere: npx shoal worker --gateway http://${address}:${new URL(url).port} --key YOUR_KEY`)
    }
  },
}

/** @returns whether the cartoon model under its name is the one that comes with Shoal */
async function pushDemos(access: GatewayAccess): Promise<boolean> {
  const cartoon = await pushDemo(access, DEMO_MODEL_NAME, await readDemoModel())
  const digits = await pushDemo(access, DIGITS_MODEL_NAME, await readDigitsModel(), DIGITS_LABELS)
  say(`model    ${DEMO_MODEL_NAME} ${cartoon ? '(a picture in, its outlines and a cartoon of it out)' : KEPT}`)
  say(
    `model    ${DIGITS_MODEL_NAME} ${
      digits ? '(a drawn digit in, which one it is out: draw one in the console)' : KEPT
    }`,
  )
  return cartoon
}

const KEPT = 'stays as it was pushed'

/** @returns false if another model has the name: one pushed here, or one that an older Shoal came with */
async function pushDemo(
  access: GatewayAccess,
  name: string,
  body: Uint8Array<ArrayBuffer>,
  labels?: readonly string[],
): Promise<boolean> {
  const headers = labels && { 'shoal-labels': labels.join(',') }
  try {
    await request(access, 'PUT', `/models/${name}/versions/${DEMO_VERSION}`, { body, headers })
    return true
  } catch (thrown) {
    if (RpcError.from(thrown).code !== 'already_exists') throw thrown
    return false
  }
}

async function joinLocally(
  access: { url: string; headers: Record<string, string> },
  name: string,
  cacheDir: string,
  log: ReturnType<typeof jsonLog>,
  relay: LocalRelay,
): Promise<HostWorker> {
  const serving = Promise.withResolvers<void>()
  const sayTrouble = sayChanges(say)
  const worker = await startHostWorker({
    gateway: access.url,
    headers: access.headers,
    wish: 'wasm',
    name,
    cacheDir,
    log,
    enrol: relay.enrol,
    onState(state) {
      if (state.phase === 'serving') {
        sayTrouble(undefined)
        serving.resolve()
      }
      if (state.phase === 'waiting') sayTrouble(`worker   ${name}: ${state.reason}; trying again`)
      if (state.phase === 'stopped') serving.reject(new Error(state.reason))
    },
  })
  await serving.promise
  say(`worker   ${name} (${worker.engine.info.device}, ${worker.engine.info.adapter})`)
  return worker
}

function nextLines(url: string, keys: boolean, { demo, workers }: { demo: boolean; workers: number }): string {
  const key = keys ? ' --key YOUR_KEY' : ''
  const lines = workers === 0
    ? [`  npx shoal worker --gateway ${url}${key}`]
    : demo
    ? [`  npx shoal call ${DEMO_MODEL_NAME} image=@functions/demo/fish.png --out /tmp --gateway ${url}${key}`]
    : []
  lines.push(`  open ${url}/ for the console, ${url}/join to lend a browser's GPU`)
  return `next:\n${lines.join('\n')}`
}

/** Where other machines find a host that listens on all of its addresses: tabs there would need https besides. */
function addressesOf(host: string): string[] {
  if (host !== '0.0.0.0' && host !== '::') return []
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return all.filter(({ internal, family }) => !internal && family === 'IPv4').map(({ address }) => address)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
