import { fileURLToPath } from 'node:url'
import {
  credentials,
  type HandleUnary,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type UnaryClient,
} from '@grpc/grpc-js'
import { load } from '@grpc/proto-loader'
import { MESSAGE } from '../rpc_contract.ts'
import type { RpcPeer } from './peer.ts'

const echo: HandleUnary = (call, answer) => answer(null, call.request)

export const peer: RpcPeer = {
  async serve() {
    const server = new Server()
    server.addService((await loadEcho()).service, { Echo: echo })
    return await new Promise((resolve, reject) => {
      server.bindAsync(
        '127.0.0.1:0',
        ServerCredentials.createInsecure(),
        (error, port) => {
          if (error) reject(error)
          else resolve(port)
        },
      )
    })
  },
  async connect(port) {
    const Client = await loadEcho()
    const client: UnaryClient = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
    return () =>
      new Promise((resolve, reject) => {
        client.Echo(MESSAGE, (error, answer) => error ? reject(error) : resolve(answer))
      })
  },
}

async function loadEcho() {
  const definition = await load(fileURLToPath(new URL('bench.proto', import.meta.url)))
  return loadPackageDefinition(definition).bench.Echo
}
