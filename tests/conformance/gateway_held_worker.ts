import { Worker } from '../../shared/contracts/worker.ts'
import { type ControlFrame } from '../../shared/rpc/peer.ts'
import { createServer, implement } from '../../shared/rpc/server.ts'
import { type SocketPeer, socketPeer, SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import type { Tensor } from '../../shared/wire/tensor.ts'
import { eventually } from './expectations.ts'
import { ask } from './gateway_http.ts'

/** A run that the worker was given and has not answered yet. */
export interface HeldRun {
  inputs: Record<string, Tensor>
  /** Sizes that the model is to be warmed up in. */
  warmUp?: number[]
  /** Aborts when the relay drops the run. */
  signal: AbortSignal
  /** Answers with its input x as output y. */
  release(): void
}

export interface HeldWorker {
  /** Its id, from the relay's welcome. */
  id: string
  socket: SocketPeer
  /** The runs that came and were not taken yet. */
  waiting: readonly HeldRun[]
  /** The next run, as soon as there is one. */
  nextRun(): Promise<HeldRun>
}

export interface Greeting {
  token?: string
  name?: string
  headers?: Record<string, string>
}

export async function enrol(
  url: string,
  headers: Record<string, string> = {},
): Promise<{ token: string; relay: string; connect: string }> {
  const { status, text, json } = await ask(url, 'POST', '/workers/enrol', { headers })
  if (status !== 200) throw new Error(`Expected an enrolment, got ${status} ${text}`)
  return json
}

/** The address of a relay's socket. */
export function socketUrl(url: string, path: string): string {
  return url.replace(/^http/, 'ws') + path
}

/** A worker that computes nothing: each run waits until the test lets it go. It speaks the real protocol. */
export async function joinHeldWorker(url: string, greeting: Greeting = {}): Promise<HeldWorker> {
  const { token, connect } = await enrol(url, greeting.headers)
  const waiting: HeldRun[] = []
  let wake = () => {}
  const serve = createServer([
    implement(Worker, {
      run: ({ inputs, warmUp }, { signal }) =>
        new Promise((resolve) => {
          const release = () =>
            resolve({
              outputs: { ...(inputs.x && { y: inputs.x }) },
              timings: { loadMs: 0, waitMs: 0, runMs: 0 },
            })
          waiting.push({ inputs, warmUp, signal, release })
          wake()
        }),
    }),
  ])
  const { socket, welcome } = await greet(url, connect, { token, ...greeting }, { serve })
  // A gateway that is not in the relay's process hears of it from the registry, a little later than the worker.
  await eventually(async () => {
    const { status, json } = await ask(url, 'GET', '/workers', { headers: greeting.headers })
    return status !== 200 || json.workers.some(({ id }: { id: string }) => id === welcome.worker)
  })
  return {
    id: welcome.worker,
    socket,
    waiting,
    async nextRun() {
      for (;;) {
        const run = waiting.shift()
        if (run) return run
        await new Promise<void>((resolve) => wake = resolve)
      }
    },
  }
}

/** Opens a socket and says hello on it. @throws if the relay closes it instead of welcoming */
export async function greet(
  url: string,
  connect: string,
  { token, name = 'held' }: Greeting,
  options: Parameters<typeof socketPeer>[1] = {},
): Promise<{ socket: SocketPeer; welcome: { worker: string; relay: string } }> {
  const web = new WebSocket(socketUrl(url, connect), SUBPROTOCOL)
  const welcomed = Promise.withResolvers<{ worker: string; relay: string }>()
  const onControl = (frame: ControlFrame) => {
    if (frame.type === 'welcome') welcomed.resolve(frame.header as { worker: string; relay: string })
  }
  const socket = socketPeer(web, { ...options, onControl })
  web.addEventListener('open', () => socket.peer.control('hello', hello(token, name)))
  const closed = socket.closed.then(({ code, reason }) => {
    throw new Error(`closed with ${code} ${reason}`)
  })
  return { socket, welcome: await Promise.race([welcomed.promise, closed]) }
}

export function hello(token: string | undefined, name: string): Record<string, unknown> {
  return {
    token,
    name,
    incarnation: `life of ${name}`,
    info: {
      device: 'wasm',
      build: 'wasm',
      adapter: 'none',
      fallbackAdapter: false,
      fp16: false,
      reason: 'held by a test',
    },
    models: [],
  }
}
