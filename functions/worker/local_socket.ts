import type { Session, WorkerLink } from '../../shared/relay/session.ts'
import type { SocketLike } from '../../shared/rpc/transports/websocket.ts'

type Listener = (event: never) => void

/**
 * A socket between a worker and a relay of the same process: the protocol without a network. Messages arrive in order,
 * in later microtasks; both ends see the same bytes, which neither writes to.
 * @param accept the relay's door
 */
export function localSocket(accept: (link: WorkerLink) => Session | undefined): SocketLike {
  const listeners = new Map<string, Listener[]>()
  const emit = (type: string, event: unknown) => {
    for (const listener of listeners.get(type) ?? []) listener(event as never)
  }
  let readyState = 1
  const close = (code: number, reason: string) => {
    if (readyState === 3) return
    readyState = 3
    queueMicrotask(() => {
      session?.end(`socket closed with ${code}`)
      emit('close', { code, reason })
    })
  }
  const session = accept({
    write: (data) => queueMicrotask(() => readyState === 1 && emit('message', { data })),
    close,
    save() {},
  })
  return {
    binaryType: 'arraybuffer',
    get readyState() {
      return readyState
    },
    send(data) {
      queueMicrotask(() => readyState === 1 && session?.receive(data))
    },
    close: (code = 1000, reason = '') => close(code, reason),
    addEventListener(type: string, listener: Listener) {
      const known = listeners.get(type)
      if (known) known.push(listener)
      else listeners.set(type, [listener])
    },
  }
}
