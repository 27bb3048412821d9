/** Moleculer over NATS: two nodes, its validator on. */
import process from 'node:process'
import { ServiceBroker } from 'moleculer'
import { MESSAGE } from '../rpc_contract.ts'
import type { RpcPeer } from './peer.ts'

export const peer: RpcPeer = {
  async serve() {
    await startEchoNode()
    return 0
  },
  async connect() {
    const broker = openBroker('caller')
    await broker.start()
    await broker.waitForServices('echo')
    return () => broker.call('echo.echo', MESSAGE)
  },
}

/** A node that serves `echo.echo`. */
export async function startEchoNode(): Promise<void> {
  const broker = openBroker('server')
  broker.createService({
    name: 'echo',
    actions: {
      echo: {
        params: {
          id: 'number',
          name: 'string',
          tags: { type: 'array', items: 'string' },
        },
        handler: ({ params }) => params,
      },
    },
  })
  await broker.start()
}

export function openBroker(nodeID: string): ServiceBroker {
  return new ServiceBroker({
    nodeID,
    transporter: process.env.BENCH_NATS_URL ?? '',
    logger: false,
  })
}
