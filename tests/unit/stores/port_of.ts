import type { Server } from 'node:net'

/** The port a server got that listens on any free one. */
export function portOf(server: Server): number {
  const address = server.address()
  return address && typeof address === 'object' ? address.port : 0
}
