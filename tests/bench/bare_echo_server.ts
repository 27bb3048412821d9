/** The relay benchmark's floor: HTTP in, WebSocket to an echo, HTTP out, and nothing else. */
import { createServer } from 'node:http'
import { type WebSocket, WebSocketServer } from 'ws'
import { ready } from './ready.ts'
import { listen } from './rpc_peers/listen.ts'

let worker: WebSocket | undefined
let nextId = 1
const waiting = new Map<number, (body: Buffer) => void>()

const server = createServer((request, response) => {
  const parts: Buffer[] = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const id = nextId++
    waiting.set(id, (body) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.byteLength }).end(
        body,
      )
    })
    const head = Buffer.alloc(4)
    head.writeUInt32LE(id)
    worker?.send(Buffer.concat([head, ...parts]))
  })
})
new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
  worker = socket
  socket.on('message', (data: Buffer) => {
    const id = data.readUInt32LE()
    waiting.get(id)?.(data.subarray(4))
    waiting.delete(id)
  })
})
ready(await listen(server))
