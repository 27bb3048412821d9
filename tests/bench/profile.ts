/** `node tests/bench/profile.ts rpc|gateway [NAME]`: where a server and its caller spend their time. For developers. */
import process from 'node:process'
import { type Child, startChild, stopAll } from './child.ts'
import { load } from './load.ts'
import { CALLERS } from './rpc_contract.ts'
import { register, RPC_REQUEST } from './gateway_backend.ts'

const TOP = 40
const FOR_MS = { warm: 2_000, profiled: 4_000 }
const PROFILED = {
  execArgv: ['--import', new URL('./profiled.ts', import.meta.url).href],
}

const SUITES: Readonly<Record<string, (name?: string) => Promise<void>>> = {
  async rpc(name = 'shoal') {
    const server = await startChild('./rpc_server.ts', [name], PROFILED)
    const caller = await startChild('./rpc_caller.ts', [name, String(server.port)], PROFILED)
    const work = (forMs: number) => load({ callers: CALLERS, forMs })
    const load = (message: { callers: number; forMs: number }) => caller.ask<{ calls: number }>(message)
    try {
      await work(FOR_MS.warm)
      await server.ask({ profile: 'start' })
      const { calls } = await work(FOR_MS.profiled)
      show(`${name}: server`, await rowsOf(server), calls)
      await caller.ask({ profile: 'start' })
      const again = await work(FOR_MS.profiled)
      show(`${name}: caller`, await rowsOf(caller), again.calls)
    } finally {
      await stopAll([server, caller])
    }
  },
  async gateway() {
    const backend = await startChild('./echo_backend.ts')
    const gateway = await startChild('./gateway_server.ts', [], PROFILED)
    try {
      await register(gateway.port, { name: 'echo', port: backend.port })
      await load(gateway.port, {
        ...RPC_REQUEST,
        connections: CALLERS,
        forMs: FOR_MS.warm,
      })
      await gateway.ask({ profile: 'start' })
      const { requests } = await load(gateway.port, {
        ...RPC_REQUEST,
        connections: CALLERS,
        forMs: FOR_MS.profiled,
      })
      show('gateway', await rowsOf(gateway), requests)
    } finally {
      await stopAll([gateway, backend])
    }
  },
}

async function rowsOf(child: Child): Promise<[string, number][]> {
  return (await child.ask<{ rows: [string, number][] }>({ profile: 'stop' }))
    .rows
}

function show(title: string, rows: readonly [string, number][], calls: number): void {
  const busy = rows.filter(([name]) => name !== '(idle)')
  const totalMs = busy.reduce((sum, [, ms]) => sum + ms, 0)
  console.log(`\n${title}: ${calls} calls, ${(totalMs * 1000 / calls).toFixed(1)} µs each`)
  for (const [name, ms] of busy.slice(0, TOP)) {
    console.log(
      `${(ms * 1000 / calls).toFixed(2).padStart(7)} µs ${(100 * ms / totalMs).toFixed(1).padStart(5)} %  ${name}`,
    )
  }
}

const [, , suite = '', name] = process.argv
const run = SUITES[suite]
if (!run) {
  console.error(`Cannot profile: the suite must be one of ${Object.keys(SUITES).join(', ')}, got "${suite}"`)
  process.exit(1)
}
await run(name)
process.exit(0)
