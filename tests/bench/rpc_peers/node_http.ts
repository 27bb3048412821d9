/** The floor: an echo on node:http that parses nothing. */
import { Agent, createServer, request } from 'node:http'
import { CALLERS, MESSAGE } from '../rpc_contract.ts'
import { listen } from './listen.ts'
import type { RpcPeer } from './peer.ts'

export const peer: RpcPeer = {
  serve: () => listen(createEcho()),
  connect(port) {
    const agent = new Agent({ keepAlive: true, maxSockets: CALLERS })
    const body = JSON.stringify(MESSAGE)
    const headers = {
      'content-type': 'application/json',
      'content-length': body.length,
    }
    const options = {
      port,
      host: '127.0.0.1',
      method: 'POST',
      path: '/',
      agent,
      headers,
    }
    return Promise.resolve(() =>
      new Promise((resolve, reject) => {
        const call = request(options, (response) => {
          let text = ''
          response.setEncoding('utf8')
          response.on('data', (part) => text += part)
          response.on('end', () => resolve(text))
        })
        call.on('error', reject)
        call.end(body)
      })
    )
  },
}

/** Sends back what it gets. */
export function createEcho() {
  return createServer((incoming, response) => {
    const parts: Uint8Array[] = []
    incoming.on('data', (part) => parts.push(part))
    incoming.on('end', () => {
      const body = Buffer.concat(parts)
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': body.byteLength,
      }).end(body)
    })
  })
}
