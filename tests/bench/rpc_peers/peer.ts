/** One of the candidates measured side by side. Server and caller each run in a process of their own. */
export interface RpcPeer {
  /** Serves the echo of `rpc_contract.ts` on a free port of loopback. @returns the port */
  serve(): Promise<number>
  /** Connects to it. @returns one call */
  connect(port: number): Promise<() => Promise<unknown>>
}
