/** The request of the gateway benchmark, and the service behind it. */
const BODY_BYTES = 256

const empty = { id: 42, name: '', tags: ['one', 'two', 'three'] }
const body = JSON.stringify({ ...empty, name: 'x'.repeat(BODY_BYTES - JSON.stringify(empty).length) })

/** A call of `bench.Echo/echo` with 256 bytes of JSON. */
export const RPC_REQUEST = {
  path: '/rpc/bench.Echo/echo',
  headers: { 'content-type': 'application/json' },
  body: new TextEncoder().encode(body),
}

/** A backend as an instance of `bench.Echo`, known by its name. */
export interface Backend {
  name: string
  port: number
  /** Counts its registrations: a life that has left does not come back. */
  life?: number
}

/** Registers a backend at a gateway. */
export async function register(gatewayPort: number, backend: Backend): Promise<void> {
  const { name, port } = backend
  const url = `http://127.0.0.1:${port}`
  const incarnation = incarnationOf(backend)
  const record = { id: name, service: SERVICE, version: '1.0.0', url, incarnation, ttlMs: 600_000 }
  await manage(gatewayPort, 'POST', '', record)
}

/** Takes it off the registry; it may go on serving. */
export async function leave(gatewayPort: number, backend: Backend): Promise<void> {
  const query = new URLSearchParams({ service: SERVICE, incarnation: incarnationOf(backend) })
  await manage(gatewayPort, 'DELETE', `/${backend.name}?${query}`)
}

const SERVICE = 'bench.Echo'

function incarnationOf({ port, life = 0 }: Backend): string {
  return `${port}-${life}`
}

async function manage(gatewayPort: number, method: string, path: string, body?: unknown): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${gatewayPort}/registry/instances${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`Cannot ${method} the instance: ${response.status} ${await response.text()}`)
}
