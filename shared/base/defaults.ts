/** Every default in one place. Units are in the names. */
export const DEFAULTS = {
  /** A caller that names no deadline gets this one: no call waits for ever. */
  callTimeoutMs: 30_000,
  /** Relays and GPU hosts: beat, suspect and gone, as in Nacos's 5/15/30 s made tighter. */
  relayLeaseMs: 15_000,
  relaySuspectMs: 10_000,
  relayBeatMs: 5_000,
  /**
   * A relay in a Durable Object beats more slowly: it sleeps after 10 s without an event, and every beat wakes it. Nor
   * does it die unheard like a machine: called without its workers it answers at once, and the call goes elsewhere.
   */
  durableRelayLeaseMs: 60_000,
  durableRelayBeatMs: 20_000,
  /** Spread of a beat, so that instances do not beat in step. */
  beatJitter: 0.2,
  /**
   * Serverless functions live between requests: their lease is renewed by cron and by traffic. Due in less than a minute,
   * or a cron job of every minute would come a moment early every other time, and each lease look suspect.
   */
  functionLeaseMs: 180_000,
  functionRenewMs: 50_000,
  /** After a failed renewal, the next call or tick from then on tries again. */
  functionRetryMs: 5_000,
  registerTimeoutMs: 5_000,
  /** How long past lives of a gone instance are remembered, so that a process woken late cannot pass for a new one. */
  lifeMemoryMs: 3_600_000,
  /** Self-preservation: eviction freezes while fewer instances of a service than this part have renewed (Eureka's). */
  leaseRenewalShare: 0.85,
  /**
   * For how many leases more a frozen eviction counts on an instance: 45 s for a relay, longer than a store takes to
   * restart or to fail over. Then it is presumed dead, or two that crash out of three would freeze eviction for good.
   */
  leaseHoldFactor: 3,
  /** Panic routing: all instances are tried while fewer than this part are not suspect (Envoy's). */
  panicShare: 0.5,
  /** A leader's lease, which it renews every third of it: how long a crashed leader holds its successor up. */
  electionLeaseMs: 15_000,
  /**
   * How much sooner than its lease a leader stops, as a part of the lease: by so much the store's clock may gain on the
   * leader's while the lease lasts.
   */
  electionMargin: 0.1,
  /** How long the last epoch of an election without a leader is remembered; after that, time alone makes epochs rise. */
  electionMemoryMs: 2_592_000_000,
  /** Redis drops a service's keys this long after the last renewal: beyond any lease and any memory of past lives. */
  leaseKeyRetentionMs: 86_400_000,
  /** One round trip to Redis. A beat that times out leaves time for the next before the instance is suspect. */
  redisTimeoutMs: 2_000,
  /** Longest pause between attempts to reach Redis again over TCP: a returned server is found within seconds. */
  redisReconnectCapMs: 2_000,
  /** How long a SQLite transaction waits for another process's. Each takes well under a millisecond. */
  sqliteBusyTimeoutMs: 5_000,
  /** How old a cached registry table may be before a refresh is started beside the call that reads it. */
  registryRefreshMs: 1_000,
  /** How soon it is refreshed again after an instance failed to answer; for a service not known yet, after the store did. */
  registryMinRefreshMs: 100,
  /** For how long after its last reading a service's table is kept fresh by a host that lives on between calls. */
  registryWatchMs: 300_000,
  /** How old it may be before a call waits for the refresh, and how long it waits at most. */
  registryMaxStaleMs: 15_000,
  registryWaitMs: 250,
  /**
   * Part of the calls that another worker, if one is idle, computes again: half a percent of the time of workers that have
   * nothing to do, and a worker that answers wrong all the time is found out within some 200 calls. Gains by it do volunteers'
   * pools most; but GPUs and their drivers fail silently in anybody's.
   */
  spotCheckShare: 1 / 200,
  /** Of a worker that was outvoted once: all calls are checked, until so many were agreed with in a row. */
  spotCheckAgreements: 5,
  /** How long a check may take before it is given up. */
  spotCheckTimeoutMs: 30_000,
  /** How long a model's manifest is served from memory: a newly pushed version is the newest everywhere by then. */
  manifestCacheMs: 10_000,
  /** How long a model is remembered as missing, or a blob store as out of reach: pushes elsewhere show soon. */
  missingManifestCacheMs: 1_000,
  /** How soon a refused key makes the ring read its source again: a new key works soon, a flood of bad ones costs little. */
  keyReloadMs: 1_000,
  /** How long keys are believed without reading their source again: a key that was removed stops working by then. */
  keyRefreshMs: 10_000,
  /** An enrolment token's life: long enough to open a socket, too short to share. */
  enrolTokenMs: 300_000,
  /** From a connection's first byte to the end of its request's headers: a slow line sends 8 KB in a second. */
  headersTimeoutMs: 10_000,
  /**
   * Workers that may join one gateway at once, and a second in the long run: a join costs it a few milliseconds, and a
   * thousand that come back after a restart must leave it time for calls. The rest are told when to come again.
   */
  joinBurst: 25,
  joinsPerSecond: 100,
  /** A socket that has not said a valid hello by then is closed. */
  helloTimeoutMs: 5_000,
  /** Pings on a quiet socket; two unanswered ones end it. */
  pingIntervalMs: 10_000,
  /** A socket for calls: how long it may take to open, how long it stays without any, and how long one is not asked for
   * again after the other side said goodbye: by then it has stopped, or another is there in its place. */
  socketOpenMs: 5_000,
  socketIdleMs: 60_000,
  socketRestMs: 15_000,
  /** Reconnects: full jitter between 0 and base · 2^n, at most the cap. */
  reconnectBaseMs: 250,
  reconnectCapMs: 10_000,
  /** Attempts of one call, the first included. */
  maxAttempts: 3,
  retryBaseMs: 25,
  retryCapMs: 1_000,
  /** Hedging: a second attempt is made beside one that takes longer than this part of the calls do. */
  hedgeShare: 0.95,
  /**
   * A call whose deadline passed speaks against the service only if it waited for so many times what an answer usually
   * takes: else a caller in a hurry could have sound instances ejected.
   */
  overdueFactor: 4,
  /** Outlier ejection: failures in a row, time out for each ejection so far, its bound, part of a set (Envoy's, but half). */
  ejectionFailures: 5,
  ejectionBaseMs: 30_000,
  ejectionMaxTimes: 10,
  ejectionMaxShare: 0.5,
  /** Circuit breaker: what opens it, for how long, and how many probes close it. */
  breakerWindowMs: 10_000,
  breakerMinCalls: 20,
  breakerFailureShare: 0.5,
  breakerOpenMs: 5_000,
  breakerJitter: 0.2,
  breakerProbes: 3,
  /** What a caller is told to wait that came while a probe was under way. */
  breakerProbeWaitMs: 100,
  /** Decay of the latency average behind the picker (Finagle's default). */
  peakEwmaDecayMs: 10_000,
  /** One run of a model longer than this means a hung device. The first run compiles shaders, hence the margin. */
  runTimeoutMs: 60_000,
  /** Time beyond which WASM is asked for no further samples to compare WebGPU with: a load should take a moment. */
  goldenTimeMs: 500,
  /** How often a device that answers oddly is asked what it has answered rightly before: some models answer zeros. */
  goldenAgainMs: 10_000,
  /** Fetching a model of the largest size over a slow line. */
  modelLoadTimeoutMs: 600_000,
  /** From asking for an enrolment token to the relay's welcome: a server that hangs is given up. */
  joinTimeoutMs: 15_000,
  /** From spawning an engine's thread to its first answer: it may fetch 16 MiB of runtime over a slow line. */
  engineStartTimeoutMs: 300_000,
  /** What a caller is told to wait where nothing better is known, and the most it is told. */
  retryAfterMs: 1_000,
  retryAfterCapMs: 60_000,
  /** What a worker's loaded models may take together, weights and copies: half of what WebAssembly can address. */
  workerMemoryBytes: 2 * 1024 ** 3,
  /** Model files that a host keeps on disk: as many as it can load five times over. */
  modelCacheBytes: 10 * 1024 ** 3,
  /** How much of its speed a hidden tab offers: browsers give it less of the processor, and others the GPU first. */
  hiddenShare: 0.5,
  /** A worker that cannot work is left alone for base · 2^n, at most the cap: an engine restarts within a few seconds. */
  workerRestBaseMs: 500,
  workerRestCapMs: 2_000,
  /** How long a function that has left goes on taking calls: gateways' tables are this old at most, news' way included. */
  leaveGraceMs: 2_000,
  /**
   * How long a connection without a request stays open: longer than proxies before it and clients keep theirs (60 s as a
   * rule), or it is closed under a request that is on its way.
   */
  keepAliveMs: 65_000,
  /** How long a connection to a service may take to open: two lost packets are sent again by then. */
  connectTimeoutMs: 10_000,
  /**
   * How long a connection to a service is kept without a call where the service does not say: many servers end theirs after 5 s.
   * Where it says so it is kept for that, up to the cap, but for the margin: a call must not meet its end on the way.
   */
  upstreamIdleMs: 4_000,
  upstreamIdleMarginMs: 1_000,
  upstreamIdleCapMs: 600_000,
  /** How often is looked for connections that have rested for long. */
  upstreamSweepMs: 1_000,
  /** After how much silence the system asks whether the other side of a connection is still there. */
  tcpProbeMs: 60_000,
  /** How long a graceful stop waits for calls in flight. */
  drainMs: 10_000,
  /** A lease of shards is this many times what shards took lately, at least the minimum; the first one is for loading. */
  trainingLeaseFactor: 5,
  trainingLeaseDecay: 0.9,
  trainingMinLeaseMs: 2_000,
  trainingFirstLeaseMs: 120_000,
  /** A worker that let a lease run out is left alone for that long and then longer, at most this: by then it was pinged. */
  trainingOverdueRestCapMs: 30_000,
  /** Attempts at the same shards that failed for good before a step gives up: as many as workers, within these bounds. */
  trainingMinSpoilt: 3,
  trainingMaxSpoilt: 16,
  /**
   * Share of a step's rounds in which one worker's result is computed again by another: after its first, at most, falling
   * once so many of its results were agreed with, and at least. A round that is audited may take one shard longer.
   */
  trainingAuditShare: 0.05,
  trainingAuditAgreements: 10,
  trainingAuditMinShare: 0.005,
  /** A gradient so many times longer than is usual, per row, is computed again by another worker before it counts. */
  trainingNormFactor: 100,
  /** Results over which is found what is usual. */
  trainingNormWindow: 64,
  /** A coordinator's lease on its run: long enough for a pause to collect garbage, short enough to wait for. */
  coordinatorLeaseMs: 10_000,
  /** Steps between checkpoints: what a successor computes again, bit by bit. Each epoch ends with one as well. */
  checkpointSteps: 50,
  /** How long a consumer has a job before another may take it, unless it says that it is at work. */
  jobLeaseMs: 30_000,
  /** How often it says so: a cancelled job's work is dropped by then, and one missed beat loses nothing. */
  jobBeatMs: 5_000,
  /** How often an idle consumer looks for jobs that nobody told it of. Upstash's free plan is one command per 5.2 s. */
  jobPollMs: 5_300,
  /** Attempts of a job that may fail, and the full jitter between them. */
  jobAttempts: 5,
  jobRetryBaseMs: 1_000,
  jobRetryCapMs: 60_000,
  /** One attempt, unless the job says otherwise. */
  jobTimeoutMs: 60_000,
  /** A job is dead unless it is done within a day; its result is kept for an hour, dead ones for a week. */
  jobTtlMs: 86_400_000,
  jobKeepMs: 3_600_000,
  deadJobMs: 604_800_000,
  /** How long a batch may take to be written to Redis before its parts are thrown away. */
  stagedJobMs: 600_000,
  /** Jobs that a worker is given at once at most: enough to fill its batches while the store is asked for more. */
  jobsPerWorker: 64,
  /** Calls to functions that a consumer has under way for jobs. */
  jobCalls: 32,
  port: 8787,
  host: '127.0.0.1',
  dataDir: '.shoal',
} as const
