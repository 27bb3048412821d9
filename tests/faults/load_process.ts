/**
 * Calls a gateway from a process of its own, so that what its caller sees is the gateway's doing and not the test's.
 * Argument: URL of the gateway. Does what each message asks for, and answers with what it saw.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { ready } from '../bench/ready.ts'
import { inferenceAt } from '../conformance/gateway_http.ts'
import { callAll } from './gateway_pool.ts'

const [url = ''] = process.argv.slice(2)
const { infer } = inferenceAt(url)
const row = (value: number) => ({ x: Tensor.from('float32', [1, 3], [value % 7, 1, 2]) })

/** How often it looks whether it runs. */
const TICK_MS = 1

/**
 * Time in which this process did not run, though it had something to do: the system, or other processes, had the processor. What
 * an answer took in such time nobody but the machine is to blame for.
 */
class Stolen {
  #totalMs = 0
  #lastMs = performance.now()
  readonly #timer = setInterval(() => {
    this.#totalMs = this.atMs()
    this.#lastMs = performance.now()
  }, TICK_MS)

  /** All of it until now. A tick is never quite in time. */
  atMs(): number {
    return this.#totalMs + Math.max(0, performance.now() - this.#lastMs - 2 * TICK_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}

/** Until the backlog of an overload stands. */
const WARM_MS = 1_000

export interface Offered {
  offered: number
  /** Answers in time, from a second after the first call until the last. */
  goodPerSecond: number
  late: number
  /** From sending each call that was shed to its answer, and of that the time in which this process ran. */
  shedMs: number[]
  shedRunningMs: number[]
  /** What else calls were answered with. */
  other: string[]
}

const TASKS = {
  /** Answers per second while so many callers always have a call waiting. */
  async peak({ model, callers, forMs }: { model: string; callers: number; forMs: number }): Promise<number> {
    let answered = 0
    const startedMs = performance.now()
    await Promise.all(Array.from({ length: callers }, async () => {
      while (performance.now() - startedMs < forMs) {
        await infer({ model, inputs: row(1) }, { timeoutMs: 60_000 })
        answered++
      }
    }))
    return answered * 1000 / (performance.now() - startedMs)
  },

  /** Calls at a steady rate, whatever becomes of them. */
  async offer(
    { model, perSecond, forMs, timeoutMs }: { model: string; perSecond: number; forMs: number; timeoutMs: number },
  ): Promise<Offered> {
    const seen: Offered = { offered: 0, goodPerSecond: 0, late: 0, shedMs: [], shedRunningMs: [], other: [] }
    const stolen = new Stolen()
    const calls: Promise<void>[] = []
    const startedMs = performance.now()
    let goodInWindow = 0
    while (performance.now() - startedMs < forMs) {
      const due = Math.floor((performance.now() - startedMs) / 1000 * perSecond)
      while (calls.length < due) {
        const sentMs = performance.now()
        const stolenMs = stolen.atMs()
        calls.push(
          infer({ model, inputs: row(calls.length) }, { timeoutMs }).then(() => {
            const atMs = performance.now() - startedMs
            if (atMs >= WARM_MS && atMs < forMs) goodInWindow++
          }, (thrown) => {
            const { code, message } = RpcError.from(thrown)
            if (code === 'resource_exhausted') {
              const tookMs = performance.now() - sentMs
              seen.shedMs.push(tookMs)
              seen.shedRunningMs.push(Math.max(0, tookMs - (stolen.atMs() - stolenMs)))
            } else if (code === 'deadline_exceeded') seen.late++
            else seen.other.push(message)
          }),
        )
      }
      await sleep(2)
    }
    await Promise.all(calls)
    stolen.stop()
    return { ...seen, offered: calls.length, goodPerSecond: goodInWindow * 1000 / (forMs - WARM_MS) }
  },

  /** Calls as usual, each answer compared with arithmetic. @returns how long each took; what failed or was wrong */
  async usual(load: { calls: number; callers: number }): Promise<{ latenciesMs: number[]; bad: string[] }> {
    const { latenciesMs, failed, wrong } = await callAll(url, load, () => {})
    return { latenciesMs, bad: [...failed, ...wrong].map(String) }
  },

  /** Connections that send a request's headers a byte at a time. @returns how long each was left open, when all are closed */
  async drip({ connections }: { connections: number }): Promise<number[]> {
    return await Promise.all(Array.from({ length: connections }, drip))
  },
}

export type Tasks = typeof TASKS

async function drip(): Promise<number> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  const openedMs = performance.now()
  socket.on('error', () => {})
  socket.resume()
  socket.write('POST /rpc/shoal.Inference/infer HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ')
  const timer = setInterval(() => socket.write('a'), 500)
  // Not `once`, which takes the reset by which it is closed for a failure.
  return await new Promise((resolve) =>
    socket.once('close', () => {
      clearInterval(timer)
      resolve(performance.now() - openedMs)
    })
  )
}

process.on('message', async ({ task, args }: { task: keyof Tasks; args: never }) => {
  try {
    process.send?.({ result: await TASKS[task](args) })
  } catch (thrown) {
    process.send?.({ failure: String(thrown) })
  }
})
ready(0)
