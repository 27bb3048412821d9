import { describe, expect, it } from 'vitest'
import { LocalSocket } from '../../../functions/relay/local_socket.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import type { Session, WorkerLink } from '../../../shared/relay/session.ts'
import { Peer } from '../../../shared/rpc/peer.ts'
import type { RpcRequest } from '../../../shared/rpc/send.ts'
import { socketPeer } from '../../../shared/rpc/transports/websocket.ts'
import { RpcError } from '../../../shared/wire/errors.ts'

/** A socket, what its relay received, and what happened at the worker's end. */
function connect(accepts = true) {
  const [received, events]: [unknown[], unknown[]] = [[], []]
  const links: WorkerLink[] = []
  const session = {
    receive: (message: unknown) => received.push(message),
    end: (reason: string) => events.push(['ended', reason]),
  } as unknown as Session
  const socket = new LocalSocket((link) => {
    links.push(link)
    if (!accepts) link.close(1013, 'full')
    return accepts ? session : undefined
  })
  socket.addEventListener('open', () => events.push('open'))
  socket.addEventListener('message', ({ data }) => events.push(data))
  socket.addEventListener('close', ({ code, reason }) => events.push(['closed', code, reason]))
  return { socket, link: () => links[0] as WorkerLink, received, events }
}

const CALL = {
  ...{ service: 'shoal.test', method: 'take', version: '', group: 'default', stream: false, idempotent: false },
  ...{ timeoutMs: 60_000, traceparent: '', metadata: {}, signal: new AbortController().signal },
}

/** Everything that was under way has arrived. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('a socket within a process', () => {
  it('carries messages in order, both ways, after and not during send', async () => {
    const { socket, link, received, events } = connect()
    expect(() => socket.send('early')).toThrow(RpcError)
    await settled()
    socket.send('ping')
    socket.send(new Uint8Array([1]))
    link().write('pong')
    link().write(new Uint8Array([2]))
    expect([received, events]).toEqual([[], ['open']])
    await settled()
    expect(received).toEqual(['ping', new Uint8Array([1])])
    expect(events).toEqual(['open', 'pong', new Uint8Array([2])])
  })

  it('brings a body in one message that takes several frames on a network', async () => {
    const { socket, link, received } = connect()
    await settled()
    const [worker, bytes] = [socketPeer(socket).peer, new Uint8Array(3 * LIMITS.maxFrameBytes)]
    const caller = { ...CALL, payload: { codec: 'msgpack', body: bytes } as const }
    worker.send(caller).catch(() => {})
    await settled()
    expect(received).toHaveLength(1)
    const parts: Uint8Array[] = []
    const serve = ({ payload }: RpcRequest) => {
      if (payload.codec === 'msgpack') parts.push(payload.body)
      return Promise.reject(new RpcError('unimplemented', 'Cannot answer'))
    }
    const { maxFrameBytes } = link()
    new Peer({ write: () => {}, serve, maxFrameBytes }).receive(received[0] as Uint8Array)
    expect(parts.map(({ byteLength }) => byteLength)).toEqual([bytes.byteLength])
    worker.close(new RpcError('canceled', 'over'))
  })

  it('closed by the worker ends the session, after what was sent before', async () => {
    const { socket, received, events } = connect()
    await settled()
    socket.send('last')
    socket.close(1000, 'goodbye')
    socket.close(1000, 'again')
    await settled()
    expect(received).toEqual(['last'])
    expect(events).toEqual(['open', ['ended', 'socket closed with 1000'], ['closed', 1000, 'goodbye']])
    expect(() => socket.send('late')).toThrow(RpcError)
  })

  it('closed by the relay tells the worker why, and brings nothing more', async () => {
    const { link, events } = connect()
    await settled()
    link().close(1001, 'the relay is stopping')
    link().write('late')
    await settled()
    expect(events.at(-1)).toEqual(['closed', 1001, 'the relay is stopping'])
  })

  it('refused by a relay that is full never opens', async () => {
    const { events } = connect(false)
    await settled()
    expect(events).toEqual([['closed', 1013, 'full']])
  })

  it('closed before it opened ends all the same', async () => {
    const { socket, events, link } = connect()
    socket.close()
    await settled()
    expect(events.at(-1)).toEqual(['closed', 1000, ''])
    link()?.write('late')
    await settled()
    expect(events.at(-1)).toEqual(['closed', 1000, ''])
  })
})
