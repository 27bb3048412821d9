import { homedir, hostname } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { jsonLog, silentLog } from '../../shared/base/log.ts'
import { invalid } from '../../shared/wire/errors.ts'
import { type HostDevice, isHostDevice, openHostEngine, type Refusal } from '../worker/host_engine.ts'
import { type HttpHost, startHttpHost } from '../worker/http_host.ts'
import { readSpotCheckShare } from '../relay/spot_checks.ts'
import { watchProcess } from '../operations/process_report.ts'
import { byteSize, type Command, GATEWAY_OPTIONS, gatewayAccess, gatewayHelp, parse, wholeNumber } from './command.ts'
import { onStopSignal } from './stop_signal.ts'
import { joinChromium, joinInProcess, type Member, type MemberOptions } from './worker_members.ts'

const HELP = `Lends this machine to a gateway until it is stopped (Ctrl-C finishes what is in flight and leaves).

Usage: shoal worker [--gateway URL] [--token KEY] [--device auto|webgpu|cpu|wasm[,…]] [--workers N] [--http]

  --device auto    the first that works (default): WebGPU on a real GPU in headless Chromium, the same in Node with the
                   package webgpu, native code with onnxruntime-node, WebAssembly in Node; says what it takes and why
  --device webgpu  WebGPU, a software adapter included
  --device cpu     native code on the CPU (needs onnxruntime-node)
  --device wasm    WebAssembly in Node
                   several, as in webgpu,wasm, give a worker each
  --workers N      workers of each device, an engine thread each (default 1)
  --memory SIZE    what the loaded models of each may take, as in 512MiB or 4GiB (default 2GiB): a model that takes more
                   by itself, some twice its files, is then not given to it
  --name NAME      how the worker is listed (default: this machine's name); several are numbered
  --http           serves calls at an address of its own instead of joining a relay; a key needs the scopes worker and
                   service, and Chromium is left out, since its engine is not in this process
  --host ADDRESS   listens there (default 127.0.0.1)
  --port N         0 takes a free one (default)
  --url URL        how gateways reach this host (default: where it listens)
  --verbose        logs as JSON lines on stderr
  --token KEY      a key with scope "worker", or "volunteer" to see public models alone; the same as --key
${gatewayHelp(19)}

webgpu and onnxruntime-node are optional packages: they are looked for in the current folder, beside Shoal, or in the
folder $SHOAL_PACKAGES. With --http, $SHOAL_ZONE says where this runs: gateways of that zone call it first.
`

const OPTIONS = {
  ...GATEWAY_OPTIONS,
  token: { type: 'string' },
  device: { type: 'string', default: 'auto' },
  workers: { type: 'string', default: '1' },
  memory: { type: 'string' },
  name: { type: 'string', default: hostname() },
  http: { type: 'boolean', default: false },
  host: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '0' },
  url: { type: 'string' },
  verbose: { type: 'boolean', default: false },
} as const

export const worker: Command = {
  summary: 'lends this machine to a gateway',
  help: HELP,
  async run(args) {
    const { values } = parse(args, OPTIONS, 0)
    const devices = values.device.split(',').map(readDevice)
    const count = wholeNumber('workers', values.workers, 1, 64)
    const memoryBytes = values.memory === undefined ? undefined : byteSize('memory', values.memory)
    const port = wholeNumber('port', values.port, 0, 65535)
    const access = gatewayAccess({ gateway: values.gateway, key: values.token ?? values.key }, process.env)
    const log = values.verbose ? jsonLog('info') : silentLog
    const { name } = values
    let host: HttpHost | undefined
    if (values.http) {
      const { host: address, url } = values
      const onRegistered = once(() => say(`worker ${name}: registered ${host?.url} at ${access.url}`))
      host = await startHttpHost({
        host: address,
        port,
        url,
        gateway: access.url,
        headers: access.headers,
        zone: process.env.SHOAL_ZONE,
        spotCheckShare: readSpotCheckShare(process.env.SHOAL_SPOT_CHECKS),
        log,
        onRegistered,
      })
    }
    const members: Member[] = []
    onStopSignal(async () => {
      await host?.withdraw()
      await Promise.all(members.map((member) => member.stop()))
      await host?.close()
    })
    watchProcess('worker', () => ({
      gateway: access.url,
      workers: members.map((member) => member.describe()),
      ...(host && { address: host.url, metrics: host.metrics.values() }),
    }))
    const wanted = devices.flatMap((device) => Array.from({ length: count }, () => device))
    for (const [i, device] of wanted.entries()) {
      const numbered = wanted.length > 1 ? `${name}-${i + 1}` : name
      const cacheDir = join(homedir(), '.cache/shoal/models')
      const options = { access, name: numbered, memoryBytes, cacheDir, log, say }
      members.push(await joinOne(options, device, wanted.length, host))
    }
    await Promise.all(members.map(({ done }) => done))
  },
}

/** @param engines how many share this machine */
async function joinOne(
  options: MemberOptions,
  device: HostDevice,
  engines: number,
  host: HttpHost | undefined,
): Promise<Member> {
  const refused: Refusal[] = []
  if (device === 'auto' || device === 'webgpu') {
    const joined = host ? NOT_IN_PROCESS : await joinChromium(options, device)
    if ('done' in joined) return joined
    refused.push(joined)
  }
  const opened = await openHostEngine(device, { engines, log: options.log, refused })
  for (const { runtime, reason } of opened.refused) sayOnce(`not ${runtime}: ${reason}`)
  return await joinInProcess(options, opened, host)
}

const NOT_IN_PROCESS: Refusal = { runtime: 'headless Chromium', reason: 'its engine is not in this process' }

function readDevice(text: string): HostDevice {
  if (isHostDevice(text)) return text
  throw invalid(`Cannot start the worker: --device must be auto, webgpu, cpu or wasm, got "${text}"`)
}

function once(task: () => void): () => void {
  let isDone = false
  return () => {
    if (isDone) return
    isDone = true
    task()
  }
}

/** What is true of the machine is told for the first of its workers. */
const told = new Set<string>()
function sayOnce(line: string): void {
  if (told.has(line)) return
  told.add(line)
  say(line)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
