const KiB = 1024
const MiB = 1024 * KiB

/** Every bound on what the outside may make us hold, each with its reason. Each has a hostile-input test. */
export const LIMITS = {
  /** Nesting of a message. Twice the deepest contract we ship; a decoder recurses once per level. */
  maxDepth: 32,
  /** Values in one msgpack message, tensors' contents not counted (they are one `bin`); in JSON, objects, arrays and
   * members. A node costs about 50 bytes. */
  maxNodes: 100_000,
  /** Bytes of one frame on a socket. Durable Objects receive at most 32 MiB; small frames let pings get through. */
  maxFrameBytes: 1 * MiB,
  /** Bytes of a frame's header. It carries names, shapes and metadata, never data. Fewer than maxNodes, so that a header
   * that fits cannot hold too many values; a worker's hello, the longest we send, has 70 KB. */
  maxHeaderBytes: 96 * KiB,
  /** Bytes of one call's body, request or response. A Worker has 128 MB, and a body may be held twice while translated. */
  maxMessageBytes: 32 * MiB,
  /** Frames of which one socket has brought some fragments and not the last. Our sender has one under way at a time. */
  maxUnfinishedFrames: 16,
  /** Bytes of all their fragments: two bodies of the largest size. Half of a Durable Object's memory. */
  maxUnfinishedBytes: 64 * MiB,
  /** Bytes of chunks that a stream may send ahead of its reader. One more chunk may overdraw them. */
  streamWindowBytes: 1 * MiB,
  /** Problems listed in one error: a caller mends the first few and tries again. */
  maxErrorDetails: 16,
  /** Characters of an error's message as it travels. */
  maxErrorLength: 2_000,
  /** Bytes of one HTTP body in JSON. A Worker has 128 MB, and JSON is held as bytes, as text and as what was read of it. */
  maxJsonBytes: 32 * MiB,
  /** Bytes of a management request (registration, enrolment): a few strings. */
  maxControlBytes: 64 * KiB,
  /** Bytes of one pushed model in one body. Cloudflare takes a request body of 100 MB; larger models come in pieces. */
  maxModelBytes: 100 * MiB,
  /** Bytes of one piece of a larger model: it is held once while its hash is checked, by gateways and by workers. */
  maxPieceBytes: 32 * MiB,
  /** Bytes of a model in pieces, with its external data. WebAssembly has 4 GiB, and holds a model while it loads it. */
  maxBundleBytes: 2048 * MiB,
  /** Bytes of the file with a model's graph that onnxruntime-web takes: it holds the file, what it reads out of it and what
   * it makes of that in the 4 GiB that WebAssembly addresses. Measured: 1.5 GiB load, of 1.75 it runs out of memory. Weights
   * in files of their own are no part of it: with 2 GiB of them models load. */
  maxWasmFileBytes: 1536 * MiB,
  /** Bytes of a large model's graph without its weights: a quarter of a Worker's memory. */
  maxLeanModelBytes: 32 * MiB,
  /** Class names and the like of one model: ImageNet-21k's at their longest would not fit a manifest, ImageNet's do. */
  maxLabels: 10_000,
  /** Characters of an alias of a version, such as `stable`. */
  maxAliasLength: 64,
  /** Steps of one generation. At a step a millisecond that is a minute, and a stream must end. */
  maxLoopSteps: 65_536,
  /** Bytes of answers that a gateway keeps for models that allow it. A quarter of a Worker's memory. */
  maxResultCacheBytes: 32 * MiB,
  /** Longest that an answer is kept: a day. */
  maxResultTtlMs: 86_400_000,
  /** Calls in flight on one socket. Each holds a table entry and its timer. */
  maxCallsPerSocket: 4096,
  /** Sockets for calls that one function or host takes: each gateway opens one, and so may each client. */
  maxCallSockets: 1024,
  /** Dimensions of a tensor: ONNX models use up to 8 in practice. */
  maxRank: 16,
  /** Inputs or outputs of one inference call. */
  maxTensors: 1024,
  /** Characters of a service, method, model or tensor name. */
  maxNameLength: 200,
  /** Longest deadline a caller may ask for: an hour. Ten digits are allowed by Connect; timers overflow at 2^31. */
  maxTimeoutMs: 3_600_000,
  /** Calls waiting in one model's queue. At 1 ms a call that is a second and more of work already. */
  maxQueuedCalls: 2048,
  /** Bytes waiting in one model's queue. A quarter of a Durable Object's memory. */
  maxQueuedBytes: 32 * MiB,
  /** Bytes waiting in all queues of a pool: half of a Durable Object's memory, and room for two models at their most. */
  maxPoolBytes: 64 * MiB,
  /** Bytes of inputs and outputs that a pool keeps to have another worker compute them again: of one call at a time. */
  maxSpotCheckBytes: 4 * MiB,
  /** Lives of workers of which a pool remembers that they computed a model wrong, and models of each: 4 KB of an attachment. */
  maxBarredLives: 1024,
  maxBarredModels: 8,
  /** Models that a pool lists as refused to some of its workers: callers may ask for any. */
  maxRefusedModels: 64,
  /** Models that a worker says it has loaded, and that a pool remembers of it: 66 KB of hashes in its hello. */
  maxLoadedModels: 1000,
  /** Bytes before an answer's body, those of interim answers among them: what Node's own server takes of a request. */
  maxAnswerHeadBytes: 16 * KiB,
  /** Bytes of lines before one chunk of a body, or after the last: extensions and trailers, which are thrown away. */
  maxChunkLineBytes: 4 * KiB,
  /** Ways to instances' addresses that a gateway keeps. Each holds at most a few idle connections. */
  maxUpstreams: 1024,
  /** Of those, what a hibernating socket remembers: 4 KB of hashes in its attachment. */
  maxAttachedModels: 64,
  /** Workers on one relay. A Durable Object serves about 1,000 messages a second. */
  maxWorkersPerRelay: 1024,
  /** Bytes a hibernating socket may carry (Cloudflare's bound on an attachment). */
  maxAttachmentBytes: 16_384,
  /** Bytes of zeros made to warm a model up: its declared shapes are someone else's numbers. */
  maxWarmUpBytes: 256 * MiB,
  /** Bytes of a model that WebGPU is compared with WASM on: it lies in memory twice meanwhile. */
  maxComparedModelBytes: 128 * MiB,
  /** Bytes of inputs and outputs kept of that, per model, to ask the device again with. */
  maxGoldenBytes: 1 * MiB,
  /** Values (messages, strings, numbers outside of tensors) in one ONNX file. Unrolled graphs of 20,000 nodes have
   * half a million; an empty message of two bytes costs about 100 once read. */
  maxModelValues: 1_000_000,
  /** Bytes of a manifest as JSON: a thousand inputs and outputs with ordinary names. */
  maxManifestBytes: 256 * KiB,
  /** Models whose manifests a catalog keeps at hand: a few kilobytes each, and callers may ask for any name. */
  maxCachedManifests: 1024,
  /** Services whose instances a caller's table holds: callers may ask for any name, and most that exist are few. */
  maxCachedServices: 1024,
  /** Last good answers that a router keeps for fallbacks, and bytes of one and of its question: 8 MiB in all. */
  maxLastAnswers: 256,
  maxLastAnswerBytes: 16 * KiB,
  /** Methods of one service that a router keeps bulkheads and latencies of: callers may ask for any name. */
  maxRoutedMethods: 256,
  /** Longest lease: an hour. What died must not stay listed for longer, whatever it asked for. */
  maxLeaseMs: 3_600_000,
  /** Instances in one renewal. At the usual 300 bytes each they fit Upstash's 1 MB request; the script runs a few ms. */
  maxLeaseBatch: 1024,
  /** Characters of one instance's record as JSON: its names at their longest, and a URL of 2,048. */
  maxLeaseRecordLength: 4096,
  /**
   * Revisions that a store remembers of each service: changes between two looks of a reader. One that has missed more
   * cannot be told whether the store has lost any.
   */
  maxRecentRevisions: 64,
  /** Superseded incarnations remembered per instance: more restarts than a zombie outlives. */
  maxPastLives: 8,
  /** Single-use keys held in memory at once, about 200 bytes each. When full, claims are refused, never forgotten. */
  maxOnceKeys: 100_000,
  /** Longest a single-use key is remembered: a day. */
  maxOnceMs: 86_400_000,
  /** Failed runs whose memory ONNX Runtime did not free, before its thread is replaced. Each may hold a body's worth. */
  maxRunsNotUnwound: 32,
  /** Models, or pieces of large ones, that a tab keeps in its browser's storage, the oldest dropped first: two models of
   * the largest size in pieces, and never more than the browser lets us. */
  maxStoredModels: 128,
  /**
   * Bytes of a body between the parts of a training run, where both ends are processes of Node or Deno, or tabs: parameters
   * and gradients of 64 million values. Only coordinators with an admin key and workers that were enrolled send them. A
   * Durable Object has 128 MB for everything and stays with maxMessageBytes.
   */
  maxTrainingBytes: 256 * MiB,
  /** Bytes of a run's checkpoint: parameters and two moments of a model of the largest size, with its losses. */
  maxCheckpointBytes: 400 * MiB,
  /** Shards of one training step: as many as workers of a relay. Each costs a lease, and its sum until it is added. */
  maxShards: 1024,
  /** Bytes of a safetensors file's header: 100,000 tensors, the bound of the format's own library being 100 MB. */
  maxSafetensorsHeaderBytes: 10 * MiB,
  /** Bytes of training data that a worker keeps at hand: the whole of MNIST five times over, and what a tab can spare. */
  maxDataCacheBytes: 256 * MiB,
  /** Bytes of one file of training data in the blob store. Longer ones are read by range from a URL. */
  maxDataBlobBytes: 32 * MiB,
  /** Runs of training that a worker or relay remembers the epoch of. */
  maxTrainingRuns: 64,
  /** Seconds of one CPU profile. A sample each millisecond makes a megabyte in ten seconds or so. */
  maxProfileSeconds: 60,
  /** Streams of registry events at once. Each holds a request open. */
  maxWatchers: 256,
  /** Jobs that one submission may bring: an NDJSON body of the largest size at 3 KB each. */
  maxJobBatch: 10_000,
  /** Jobs that may wait. About a kilobyte each in Redis or SQLite, when payloads are small. */
  maxQueuedJobs: 1_000_000,
  /** Characters of a job's task or result kept in the queue itself; longer ones go to the blob store. */
  maxInlineJobBytes: 256 * KiB,
  /** Jobs of one lane that a consumer takes at once: at their longest inline, a quarter of a Durable Object's memory. */
  maxJobsTaken: 128,
  /** Attempts that a job may ask for. */
  maxJobAttempts: 100,
  /** Longest that a job may wait, and that its result may be kept: a week. */
  maxJobMs: 604_800_000,
  /** Dead jobs in one listing. */
  maxListedJobs: 100,
  /** Longest that calls may be made to wait for others to share their run: a second. */
  maxQueueDelayUs: 1_000_000,
  /** Points of a loss curve in a run's report: about what a screen can show, and 10 KB of JSON. */
  maxCurvePoints: 240,
  /** Training runs that a gateway remembers for the console. */
  maxShownRuns: 16,
  /** Sizes of runs that a model asks to be warmed up for: every power of two up to the next limit. */
  maxWarmUpSizes: 9,
  /** Samples joined into one run. */
  maxBatch: 256,
} as const
