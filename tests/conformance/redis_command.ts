import { createClient } from 'redis'

/** Sends one command to a Redis over a connection of its own: what tests do behind a store's back. */
export async function redisCommand(url: string, ...args: string[]): Promise<unknown> {
  const client = createClient({ url, RESP: 2 })
  client.on('error', () => {})
  await client.connect()
  try {
    return await client.sendCommand(args)
  } finally {
    client.destroy()
  }
}
