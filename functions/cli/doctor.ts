import { createWriteStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import process from 'node:process'
import { readHttpError } from '../../shared/rpc/http.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { type CpuProfile, readProfile } from '../operations/cpu_profile.ts'
import { type Inspected, inspectProcess } from '../operations/inspect.ts'
import { listenerOf, systemView } from '../operations/proc.ts'
import type { ProcessReport } from '../operations/process_report.ts'
import { type Command, GATEWAY_OPTIONS, type GatewayAccess, gatewayAccess, gatewayHelp, parse } from './command.ts'
import { wholeNumber } from './command.ts'
import { type Diagnosis, textOf } from './doctor_text.ts'

const HELP =
  `Looks into a running gateway, or any process of Shoal on this machine: memory, event loop, handles, queues,
leases. Finds what a busy process is doing, even one whose event loop is blocked.

Usage: shoal doctor [--gateway URL | --pid PID] [--profile FILE] [--heap FILE] [--json]

  --pid PID       a process of Node on this machine and of this user, looked into through its inspector, which SIGUSR1
                  opens on loopback and the doctor closes; needs nothing of the process's event loop
  --profile FILE  writes a CPU profile (open it in Chromium's developer tools) and names what was hot
  --seconds N     how long to sample (default 5)
  --heap FILE     writes a heap snapshot (the process stands still meanwhile): take two, an hour apart, and compare
  --json          prints the report as JSON
${gatewayHelp()} (scope "admin")

A gateway on this machine that does not answer is looked into by its process.
`

/** How long a gateway that is well takes to say how it is, with much to spare. */
const REPORT_TIMEOUT_MS = 5_000

export const doctor: Command = {
  summary: 'shows how a running process is, and what keeps it busy',
  help: HELP,
  async run(args) {
    const { values } = parse(args, {
      ...GATEWAY_OPTIONS,
      pid: { type: 'string' },
      profile: { type: 'string' },
      heap: { type: 'string' },
      seconds: { type: 'string', default: '5' },
      json: { type: 'boolean', default: false },
    }, 0)
    const wanted: Wanted = {
      profile: values.profile,
      heap: values.heap,
      ms: 1000 * wholeNumber('seconds', values.seconds, 1, 60),
    }
    const diagnosis = values.pid === undefined
      ? await examineGateway(gatewayAccess(values, process.env), wanted)
      : await examineProcess(wholeNumber('pid', values.pid, 1, 2 ** 31), wanted)
    process.stdout.write(values.json ? `${JSON.stringify(diagnosis, undefined, 2)}\n` : textOf(diagnosis))
  },
}

interface Wanted {
  profile: string | undefined
  heap: string | undefined
  ms: number
}

async function examineGateway(access: GatewayAccess, wanted: Wanted): Promise<Diagnosis> {
  const diagnosis: Diagnosis = { findings: [], files: [] }
  try {
    const timeout = AbortSignal.timeout(REPORT_TIMEOUT_MS)
    const answer = await ask(access, 'GET', '/operations/report', timeout)
    diagnosis.report = await answer.json().catch((cause) => {
      throw new RpcError('failed_precondition', `Cannot examine ${access.url}: a gateway of Shoal must answer there`, {
        cause,
      })
    }) as ProcessReport
  } catch (thrown) {
    const pid = RpcError.from(thrown).code === 'unavailable' ? await localListener(access.url) : undefined
    if (pid === undefined) throw thrown
    const found = await examineProcess(pid, wanted)
    return { ...found, findings: [`${access.url} does not answer; process ${pid} listens there`, ...found.findings] }
  }
  if (wanted.profile !== undefined) {
    const path = `/operations/cpu-profile?seconds=${wanted.ms / 1000}`
    await keepProfile(await (await ask(access, 'POST', path)).json() as CpuProfile, wanted.profile, diagnosis)
  }
  if (wanted.heap !== undefined) {
    const { body } = await ask(access, 'POST', '/operations/heap-snapshot')
    if (body) await pipeline(Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]), fileAt(wanted.heap))
    diagnosis.files.push(wanted.heap)
  }
  return diagnosis
}

async function examineProcess(pid: number, wanted: Wanted): Promise<Diagnosis> {
  const inspected = await inspectProcess(pid)
  const diagnosis: Diagnosis = { system: await systemView(pid), findings: [], files: [] }
  try {
    diagnosis.report = await inspected.report()
    diagnosis.turns = await inspected.turns()
    if (!diagnosis.turns) await explainBlock(inspected, diagnosis)
    if (wanted.profile !== undefined) {
      await keepProfile(await inspected.cpuProfile(wanted.ms), wanted.profile, diagnosis)
    }
    if (wanted.heap !== undefined) {
      const file = fileAt(wanted.heap)
      await inspected.heapSnapshot((part) => void file.write(part))
      await new Promise((resolve) => file.end(resolve))
      diagnosis.files.push(wanted.heap)
    }
  } finally {
    await inspected.close()
  }
  return diagnosis
}

/** What an event loop that does not turn is caught in. */
async function explainBlock(inspected: Inspected, diagnosis: Diagnosis): Promise<void> {
  const stack = await inspected.stack()
  diagnosis.stack = stack
  diagnosis.findings.push(
    stack
      ? `the event loop is blocked by ${stack[0] ?? 'a script'}: no timer, call or signal is served until it returns`
      : 'the event loop is blocked outside of JavaScript: in native code, or by the system (see its state)',
  )
}

async function keepProfile(profile: CpuProfile, path: string, diagnosis: Diagnosis): Promise<void> {
  await writeFile(path, JSON.stringify(profile))
  diagnosis.files.push(path)
  diagnosis.profile = readProfile(profile)
}

/** The process behind a gateway of this machine. */
async function localListener(url: string): Promise<number | undefined> {
  const { hostname, port, protocol } = new URL(url)
  if (!/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)) return undefined
  return await listenerOf(Number(port || (protocol === 'https:' ? 443 : 80)))
}

async function ask(access: GatewayAccess, method: string, path: string, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(access.url + path, { method, headers: access.headers, redirect: 'manual', signal })
    .catch((cause) => {
      throw new RpcError('unavailable', `Cannot examine the gateway: ${access.url} does not answer`, { cause })
    })
  if (!response.ok) throw await readHttpError(response)
  return response
}

function fileAt(path: string) {
  return createWriteStream(path, { mode: 0o600 })
}
