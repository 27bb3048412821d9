import { type Report, report, Series } from './figures.ts'
import { compareJobs, JOBS_PACKAGES, JOBS_SETUP } from './jobs.ts'
import { measureBatching } from './pool_batching.ts'
import { measureCache } from './pool_cache.ts'
import { measureGoodput } from './pool_goodput.ts'

const SETUP = [
  'batched: 128 callers of one row each, a relay, a worker on a socket without a network, ONNX Runtime on WASM in its thread; unbatched: ' +
  'the same, each call a run; hand-batched: the same engine alone, called with batches of 64 rows made by hand',
  'goodput: the pool with workers whose COMPUTE IS SIMULATED (a run takes a fixed time, one after the other, and cannot be ' +
  'taken back once begun), calls not joined; capacity: what these times allow',
  'p99: Poisson arrivals at 70 % of capacity (latencies in ms), beside the same arrivals dealt out round robin to a queue per worker',
  'overload: Poisson arrivals at 10 times capacity, deadlines of 1 s; peak: the goodput of callers that always have a call waiting',
  'cached: 16 callers ask `shoal start` and its local worker 16 questions over and over, over HTTP, of the demo models',
  JOBS_SETUP,
].join('; ')

/** What the pool makes of its workers: joining, and the use of workers of unequal speed, in plenty and in overload. */
export async function poolBench(): Promise<Report> {
  const series = new Series()
  await measureBatching(series)
  await measureGoodput(series)
  await measureCache(series)
  const missing = await compareJobs(series)
  return report(
    'pool',
    SETUP,
    ['onnxruntime-web', ...JOBS_PACKAGES],
    series.figures(),
    missing === undefined ? [] : [missing],
  )
}
