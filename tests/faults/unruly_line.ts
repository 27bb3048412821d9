import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { type RawData, WebSocket, WebSocketServer } from 'ws'
import type { Random } from '../../shared/base/random.ts'
import { SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'
import { FRAME_TYPES, FrameReader } from '../../shared/wire/frame.ts'

/** How much of what passes is met with. */
const RATES = { again: 0.25, misdelivered: 0.03 } as const
/** Longer than a shard of the tests takes, so that answers of several workers, and of several calls of one, change places. */
const MAX_DELAY_MS = 40
/** Offset of a frame's number; see PROTOCOL.md. */
const ID_AT = 4

/** What it did. */
export interface UnrulyCounts {
  /** Answers that were delivered twice, and calls that were made twice. */
  answersAgain: number
  callsAgain: number
  /** Answers that came before one that was given earlier. */
  reordered: number
  /** Pairs of answers of which each came to the other's call. */
  misdelivered: number
}

export interface UnrulyLine extends AsyncDisposable {
  url: string
  counts: Readonly<UnrulyCounts>
}

/**
 * A line to a gateway that treats calls and answers as a network treats datagrams: some come twice, the second time late,
 * they come in another order, and now and then an answer comes to another call than its own. Nothing is lost.
 */
export async function openUnrulyLine(gateway: string, random: Random): Promise<UnrulyLine> {
  const counts: UnrulyCounts = { answersAgain: 0, callsAgain: 0, reordered: 0, misdelivered: 0 }
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => SUBPROTOCOL })
  const server = createServer((incoming, answer) => {
    forward(incoming, answer).catch(() => answer.destroy())
  })

  async function forward(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const body = await buffer(incoming)
    if (incoming.url?.includes('shoal.Training/') && random() < RATES.again) {
      counts.callsAgain++
      void sleep(random() * MAX_DELAY_MS)
        .then(() => pass(gateway, incoming, body))
        .then((second) => second.resume(), () => {})
    }
    const first = await pass(gateway, incoming, body)
    answer.writeHead(first.statusCode ?? 502, first.headers)
    first.on('error', () => answer.destroy())
    first.pipe(answer)
  }

  server.on('upgrade', (incoming, socket, head) => {
    sockets.handleUpgrade(incoming, socket, head, (worker) => {
      const url = new URL(incoming.url ?? '', gateway.replace('http', 'ws'))
      join(worker, new WebSocket(url, SUBPROTOCOL, { perMessageDeflate: false }))
    })
  })

  /** Between a worker and its relay. */
  function join(worker: WebSocket, relay: WebSocket): void {
    const held: { answer: Buffer; sentAs: number }[] = []
    let [given, newest] = [0, -1]
    const deliver = (entry: typeof held[number]) => {
      held.splice(held.indexOf(entry), 1)
      if (relay.readyState !== WebSocket.OPEN) return
      if (entry.sentAs < newest) counts.reordered++
      newest = Math.max(newest, entry.sentAs)
      relay.send(entry.answer)
    }
    const hold = (answer: Buffer) => {
      const entry = { answer, sentAs: given++ }
      const [other] = held
      if (other && random() < RATES.misdelivered) {
        counts.misdelivered++
        exchangeIds(other.answer, answer)
      }
      held.push(entry)
      setTimeout(() => deliver(entry), random() * MAX_DELAY_MS)
    }
    const opened = new Promise<void>((resolve) => relay.once('open', resolve))
    worker.on('message', async (data, isBinary) => {
      await opened
      const message = data as Buffer
      if (!isBinary || typeOf(message) !== FRAME_TYPES.response) return relay.send(data, { binary: isBinary })
      hold(message)
      if (random() >= RATES.again) return
      counts.answersAgain++
      hold(Buffer.from(message))
    })
    relay.on('message', (data: RawData, isBinary) => {
      worker.send(data, { binary: isBinary })
      if (!isBinary || typeOf(data as Buffer) !== FRAME_TYPES.request || random() >= RATES.again) return
      counts.callsAgain++
      setTimeout(() => worker.readyState === WebSocket.OPEN && worker.send(data), random() * MAX_DELAY_MS)
    })
    for (const [one, other] of [[worker, relay], [relay, worker]] as const) {
      one.on('error', () => other.terminate())
      one.on('close', () => other.close())
    }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    counts,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate()
      sockets.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Makes a call of the line's own, with all that the caller sent. */
function pass(gateway: string, { method, url, headers }: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { host: _, 'transfer-encoding': __, ...kept } = headers
    const passed = { ...kept, 'content-length': body.byteLength }
    request(new URL(url ?? '', gateway), { method, headers: passed }, resolve).on('error', reject).end(body)
  })
}

/** The type of a frame that came in one message; those in several pass as they are. */
function typeOf(message: Buffer): number | undefined {
  try {
    const frame = new FrameReader().read(message)
    return frame && FRAME_TYPES[frame.type]
  } catch {
    // A later fragment.
    return undefined
  }
}

function exchangeIds(one: Buffer, other: Buffer): void {
  const id = one.readUInt32LE(ID_AT)
  one.writeUInt32LE(other.readUInt32LE(ID_AT), ID_AT)
  other.writeUInt32LE(id, ID_AT)
}
