import type { Context } from 'hono'
import type { Clock } from '../../shared/base/clock.ts'
import type { Log } from '../../shared/base/log.ts'
import type { Metrics } from '../../shared/base/metrics.ts'
import type { JobDesk } from '../../shared/jobs/job_desk.ts'
import type { JobFeed } from '../../shared/jobs/job_feed.ts'
import type { BlobStore } from '../../shared/models/blob_store.ts'
import type { ModelCatalog } from '../../shared/models/catalog.ts'
import type { RegistryTable } from '../../shared/registry/table.ts'
import type { RegistryWatch } from '../../shared/registry/watch.ts'
import type { Send } from '../../shared/rpc/send.ts'
import type { LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import type { JobStore } from '../../shared/stores/job_store.ts'
import type { Guard } from './guard.ts'
import type { HostAddress } from './host_token.ts'
import type { Infer } from './inference.ts'

/** All that the gateway's routes need, wired by the runtime's entry: node.ts, deno.ts or cloudflare.ts. */
export interface GatewayDeps {
  guard: Guard
  catalog: ModelCatalog
  /** Where models lie, and what training needs: graphs, plans, data. */
  blobs: BlobStore
  leases: LeaseStore
  /** This process's copy of the registry. */
  table: RegistryTable
  /** Keeps it fresh, where the process lives on between requests. */
  watch?: RegistryWatch
  /** Calls a service by name over the registry. */
  route: Send
  infer: Infer
  /** The token that gateways present to the host or function of that address, if that key registered it. */
  hostToken(address: HostAddress): Promise<string>
  /** Every pool that can be reached now, with a way to call it. */
  pools(): Promise<{ instance: LeasedInstance; send: Send }[]>
  relays: Relays
  jobs: {
    store: JobStore
    desk: JobDesk
    /** What this process does for jobs is told here. */
    feed: JobFeed
    /** Aborts when the gateway stops. */
    ended: AbortSignal
  }
  /** Console, join page and their assets, by path. */
  assets(path: string): Promise<Response>
  clock: Clock
  metrics: Metrics
  log: Log
  /** Looks into this process, where it is one that can be looked into. */
  process?: ProcessProbe
}

/** What an operator may ask of a running process: functions/operations has it for Node and Deno. */
export interface ProcessProbe {
  /** Numbers of the process and its parts, as JSON. */
  report(): object
  /** In the format of Chromium's developer tools. The process stands still meanwhile. */
  heapSnapshot(): ReadableStream<Uint8Array>
  /** @param signal ends it early */
  cpuProfile(ms: number, signal: AbortSignal): Promise<object>
}

/** Where workers' sockets end: relays of this process, or Durable Objects. */
export interface Relays {
  /**
   * Issues a token for one socket to the relay that should take the next worker.
   * @param volunteer the worker is to see public models alone
   */
  enrol(volunteer: boolean): Promise<{ relay: string; token: string; expiresInMs: number }>
  /** Hands an upgrade request over to a relay. */
  connect(context: Context, relay: string): Response | Promise<Response>
  /** Metrics of relays that do not count in this process's own, each as Prometheus's text. */
  metrics?(): Promise<string[]>
}
