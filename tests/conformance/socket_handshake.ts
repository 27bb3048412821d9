import { WebSocket } from 'ws'

/** What a handshake is answered: `open`, or an HTTP status. */
export function handshake(url: string, protocols: string[], headers: Record<string, string>): Promise<number | 'open'> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols, { headers })
    socket.on('open', () => {
      resolve('open')
      socket.terminate()
    })
    socket.on('unexpected-response', (request, { statusCode = 0 }) => {
      resolve(statusCode)
      request.destroy()
    })
    socket.on('error', reject)
  })
}
