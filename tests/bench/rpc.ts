import { Agent, request } from 'node:http'
import { createClient } from '../../shared/rpc/create_client.ts'
import { connectWebSocket } from '../../shared/rpc/transports/websocket.ts'
import { startChild } from './child.ts'
import { closedLoop, figure, type Report, report } from './figures.ts'
import { Echo, MESSAGE } from './rpc_contract.ts'

const ROUNDS = 7
const CALLS = { single: 2_000, many: 20_000 }
const CALLERS = 32

/** A typed, validated call over one multiplexed socket, beside a bare node:http echo of the same record. */
export async function rpcBench(): Promise<Report> {
  const server = await startChild('./rpc_server.ts')
  const transport = await connectWebSocket(`ws://127.0.0.1:${server.port}`)
  const client = createClient(Echo, { transport })
  const agent = new Agent({ keepAlive: true, maxSockets: CALLERS })
  const body = JSON.stringify(MESSAGE)
  const ours = () => client.echo(MESSAGE)
  const floor = () => post(server.port, agent, body)

  await closedLoop(ours, CALLERS, CALLS.many / 4)
  await closedLoop(floor, CALLERS, CALLS.many / 4)
  const p50: number[] = []
  const throughput: number[] = []
  const absolute = { ours: [] as number[], floor: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    const single = { ours: await closedLoop(ours, 1, CALLS.single), floor: await closedLoop(floor, 1, CALLS.single) }
    const many = {
      ours: await closedLoop(ours, CALLERS, CALLS.many),
      floor: await closedLoop(floor, CALLERS, CALLS.many),
    }
    p50.push(single.ours.p50Us / single.floor.p50Us)
    throughput.push(many.ours.perSecond / many.floor.perSecond)
    absolute.ours.push(single.ours.p50Us)
    absolute.floor.push(single.floor.p50Us)
  }
  transport.close()
  agent.destroy()
  await server.stop()
  const setup =
    `${body.length} B record; one caller for p50, ${CALLERS} for throughput; Shoal: typed client, validated on both sides, one WebSocket; floor: node:http echo without parsing, ${CALLERS} keep-alive connections`
  return report('rpc', setup, ['ws', 'zod', '@msgpack/msgpack'], {
    p50_vs_node_http: figure(p50, 'ratio'),
    throughput_vs_node_http: figure(throughput, 'ratio'),
    p50_us: figure(absolute.ours, 'µs'),
    node_http_p50_us: figure(absolute.floor, 'µs'),
  })
}

function post(port: number, agent: Agent, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    const call = request({ port, host: '127.0.0.1', method: 'POST', path: '/', agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part) => text += part)
      response.on('end', () => resolve(text))
    })
    call.on('error', reject)
    call.end(body)
  })
}
