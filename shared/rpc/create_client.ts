import { type Client, type ClientOptions, clientOver } from './client.ts'
import type { Methods, ServiceContract } from './contract.ts'
import type { HttpCodec } from './http.ts'
import type { Transport } from './send.ts'
import { fetchTransport } from './transports/fetch.ts'

export type CreateClientOptions =
  & Omit<ClientOptions, 'transport'>
  & (
    | {
      /** The gateway's URL. */
      gateway: string
      /** An API key with scope "call"; a gateway on loopback may need none. */
      key?: string
      /** `msgpack` by default: tensors travel as they are. `json` is readable on the wire. */
      codec?: HttpCodec
    }
    | {
      /** Any other way to the server: a socket, a MessagePort, memory. */
      transport: Transport
    }
  )

/** A typed client of a contract: its methods, as if they were local functions. */
export function createClient<const M extends Methods>(
  contract: ServiceContract<M>,
  options: CreateClientOptions,
): Client<ServiceContract<M>> {
  if ('transport' in options) return clientOver(contract, options)
  const { gateway, key, codec, ...rest } = options
  const headers = key ? { authorization: `Bearer ${key}` } : undefined
  return clientOver(contract, { ...rest, transport: fetchTransport(gateway, { codec, headers }) })
}
