import type { Clock } from '../base/clock.ts'
import type { Client } from '../rpc/client.ts'
import type { Transport } from '../rpc/send.ts'
import { messagePortTransport, type PortLike } from '../rpc/transports/message_port.ts'
import { RpcError } from '../wire/errors.ts'
import type { DeviceInfo } from './engine.ts'
import { engineClient, type EngineService } from './engine_service.ts'

/** A thread that serves an engine on `port`, as spawn_web.ts and spawn_node.ts make it. */
export interface Thread {
  port: PortLike
  /** Stops it at once, whatever it is doing. */
  terminate(): void | Promise<unknown>
  /** Resolves with the reason if it ends by itself. Never rejects. */
  exited: Promise<string>
}

export interface ThreadOptions {
  spawn(): Promise<Thread>
  startTimeoutMs: number
  runTimeoutMs: number
  clock: Clock
}

type Calls = Client<typeof EngineService>

/** One engine thread from its start to its end: it ends once, for whichever reason comes first, and is terminated. */
export class EngineThread {
  readonly #thread: Thread
  readonly #transport: Transport
  readonly #calls: Calls
  readonly #options: ThreadOptions
  readonly #ended = Promise.withResolvers<string>()
  #reason: string | undefined
  #inFlight = 0
  #disarm = () => {}

  private constructor(thread: Thread, options: ThreadOptions) {
    this.#thread = thread
    this.#options = options
    this.#transport = messagePortTransport(thread.port)
    this.#calls = engineClient(this.#transport, options.clock)
    thread.exited.then((reason) => this.end(`its thread ended: ${reason}`))
  }

  /** @throws RpcError whatever kept the engine from starting; the thread is terminated then */
  static async start(options: ThreadOptions): Promise<{ engine: EngineThread; info: DeviceInfo }> {
    const engine = new EngineThread(await options.spawn(), options)
    try {
      const info = await engine.#ask((calls) => calls.info({}, { timeoutMs: options.startTimeoutMs }))
      void engine.#watchForLoss()
      return { engine, info }
    } catch (thrown) {
      engine.end('it did not start')
      throw thrown
    }
  }

  /** Resolves with the reason once it has ended. */
  get ended(): Promise<string> {
    return this.#ended.promise
  }

  /**
   * One use of the engine. The watchdog: while any are in flight, one must finish within `runTimeoutMs`, however many
   * wait behind it.
   * @throws RpcError `unavailable` if the thread ends before the use does
   */
  async use<T>(task: (calls: Calls) => Promise<T>): Promise<T> {
    if (this.#inFlight++ === 0) this.#arm()
    try {
      return await this.#ask(task)
    } finally {
      this.#disarm()
      if (--this.#inFlight > 0) this.#arm()
    }
  }

  /** Terminates the thread and fails what is in flight. Later reasons are ignored. */
  end(reason: string): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#disarm()
    void this.#thread.terminate()
    this.#transport.close()
    this.#ended.resolve(reason)
  }

  async #ask<T>(task: (calls: Calls) => Promise<T>): Promise<T> {
    if (this.#reason !== undefined) throw stopped(this.#reason, { neverSent: true })
    try {
      return await task(this.#calls)
    } catch (cause) {
      throw this.#reason === undefined ? cause : stopped(this.#reason, { cause })
    }
  }

  #arm(): void {
    if (this.#reason !== undefined) return
    const { clock, runTimeoutMs } = this.#options
    this.#disarm = clock.after(runTimeoutMs, () => this.end(`no run finished within ${runTimeoutMs} ms`))
  }

  async #watchForLoss(): Promise<void> {
    while (this.#reason === undefined) {
      try {
        this.end((await this.#calls.lost({})).reason)
      } catch (thrown) {
        const error = RpcError.from(thrown)
        // The longest deadline passed without a loss: ask again.
        if (error.code !== 'deadline_exceeded') this.end(error.message)
      }
    }
  }
}

export function stopped(reason: string, options: { neverSent?: boolean; cause?: unknown }): RpcError {
  return new RpcError('unavailable', `Cannot compute: the engine has stopped (${reason})`, options)
}
