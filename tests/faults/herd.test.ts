import { afterEach, expect, it } from 'vitest'
import { systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { silentLog } from '../../shared/base/log.ts'
import { readHttpError } from '../../shared/rpc/http.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { Agent } from '../../shared/worker/agent.ts'
import { openSocket } from '../../functions/worker/node_socket.ts'
import { eventually } from '../conformance/expectations.ts'
import { socketUrl } from '../conformance/gateway_held_worker.ts'
import { RowEngine } from '../unit/worker/row_engine_held.ts'
import { report } from './figures.ts'
import { startPool } from './gateway_pool.ts'

const WORKERS = 1_000
/** Rates are taken over so long. */
const BIN_MS = 2_000

const agents: Agent[] = []

afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.drain(0)))
})

interface Herd {
  serving: number
  /** When each was welcomed, ms. */
  joins: number[]
}

/** Real agents on real sockets, with engines that weigh nothing. */
function startAgents(count: number, url: () => string): Herd {
  const herd: Herd = { serving: 0, joins: [] }
  for (let i = 0; i < count; i++) {
    let isServing = false
    agents.push(
      new Agent({
        name: `light-${i}`,
        engine: new RowEngine(),
        models: { get: () => Promise.reject(new RpcError('not_found', 'there are none')) },
        async enrol() {
          // As host_worker.ts does: what it is refused with says when to come again.
          const response = await fetch(`${url()}/workers/enrol`, { method: 'POST' })
          if (!response.ok) throw await readHttpError(response)
          const { token, connect } = await response.json() as { token: string; connect: string }
          return { token, socket: openSocket(socketUrl(url(), connect)) }
        },
        clock: systemClock,
        random: Math.random,
        log: silentLog,
        onState({ phase }) {
          if ((phase === 'serving') === isServing) return
          isServing = phase === 'serving'
          herd.serving += isServing ? 1 : -1
          if (isServing) herd.joins.push(performance.now())
        },
      }),
    )
  }
  return herd
}

/** How many of the times fall into each stretch of BIN_MS from the first on. */
function histogram(times: readonly number[]): number[] {
  const from = Math.min(...times)
  const counts = new Array<number>(Math.ceil((Math.max(...times) - from + 1) / BIN_MS)).fill(0)
  for (const time of times) {
    const bin = Math.floor((time - from) / BIN_MS)
    counts[bin] = (counts[bin] ?? 0) + 1
  }
  return counts
}

const allServe = (herd: Herd) =>
  eventually(async () => herd.serving === WORKERS, () => new Promise((resolve) => setTimeout(resolve, 100)))

it('a thousand workers come back to a gateway that was restarted, spread in time', async () => {
  await using pool = await startPool()
  const herd = startAgents(WORKERS, () => pool.url)
  await allServe(herd)
  herd.joins.length = 0
  pool.gateway.signal('SIGKILL')
  const killedAtMs = performance.now()
  await pool.restart()
  await allServe(herd)
  const { joins } = herd
  const bins = histogram(joins)
  const peakPerSecond = Math.max(...bins) / (BIN_MS / 1000)
  const meanPerSecond = WORKERS / ((Math.max(...joins) - Math.min(...joins)) / 1000)
  report(`15 ${WORKERS} workers reconnect`, 'all come back, spread in time: peak / mean ≤ 2', {
    workers: joins.length,
    firstBackMs: Math.round(Math.min(...joins) - killedAtMs),
    lastBackMs: Math.round(Math.max(...joins) - killedAtMs),
    joinsInEach2s: bins.join(' '),
    peakToMean: Math.round(peakPerSecond / meanPerSecond * 100) / 100,
    peakToAllowed: Math.round(peakPerSecond / DEFAULTS.joinsPerSecond * 100) / 100,
  })
  expect(joins).toHaveLength(WORKERS)
  // The mean is what the gateway allows, as long as the machine keeps up; where others keep it busy, the mean is lower.
  expect(peakPerSecond).toBeLessThanOrEqual(2 * Math.max(meanPerSecond, DEFAULTS.joinsPerSecond))
}, 180_000)
