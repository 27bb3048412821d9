export interface RunOptions {
  /** 0, any free one, by default. */
  port?: number
  /** 127.0.0.1 by default. */
  hostname?: string
  /** Whether it takes calls over sockets too; so by default. */
  sockets?: boolean
  /** Where and as what it registers (see `LeaseSettings`): the process's environment by default. */
  env?: Readonly<Record<string, string | undefined>>
}

/** A function that runs as a process: run_node.ts and run_deno.ts start one. */
export interface RunningFunction {
  /** Where gateways call it. */
  url: string
  /** Where it listens. */
  port: number
  /** Leaves the registry, answers what is running, and stops listening. */
  stop(): Promise<void>
}

/** As what a process registers, where it was not told. */
export function environment(url: string, env: Readonly<Record<string, string | undefined>>) {
  const { SHOAL_URL = url, SHOAL_DEPLOYMENT = crypto.randomUUID() } = env
  return { ...env, SHOAL_URL, SHOAL_DEPLOYMENT }
}
