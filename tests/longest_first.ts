import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * Files that take more than ten seconds, the longest first, so that none of them is left over when all others are done. Those
 * that compute, mostly shaders for a GPU made of software, stand between those that mostly wait, for a lease or a silence to end.
 */
const LONGEST = [
  'simulation/simulation',
  'faults/training_workers',
  'faults/link_loss',
  'runtime/browser/console_page',
  'faults/backends',
  'faults/redis_rest',
  'conformance/engine_chromium',
  'faults/redis_outage',
  'conformance/gateway_workerd',
  'conformance/gateway_deno',
  'conformance/gateway_node',
  'conformance/engine_optional',
  'faults/training_coordinator',
  'faults/durable_eviction',
  'runtime/workerd_gateway',
  'faults/training_devices',
  'faults/jobs_durable',
  'faults/overload',
  'faults/registry_time',
  'unit/training/webgpu',
  'runtime/browser/join_page',
  'faults/herd',
  'faults/slow_loris',
  'faults/jobs_flood',
  'faults/tab_life',
  'unit/cli/start',
  'faults/drain',
  'conformance/host_devices',
  'runtime/workerd',
  'runtime/chromium',
  'unit/cli/doctor',
  'faults/jobs_full',
  'faults/training_large',
  'faults/worker_loss',
  'unit/training_rounds/exactness',
]

/** Next those that start processes. */
const FOLDERS = ['faults', 'runtime', 'conformance', 'interop', 'simulation']

/** Where a file stands: the lower, the sooner. */
function rankOf(path: string): number {
  const name = /.*\/tests\/(.+)\.test\.ts$/.exec(path)?.[1] ?? path
  const [folder = ''] = name.split('/')
  const [longest, byFolder] = [LONGEST.indexOf(name), FOLDERS.indexOf(folder)]
  if (longest >= 0) return longest
  return LONGEST.length + (byFolder >= 0 ? byFolder : FOLDERS.length)
}

/** The same order on every machine: vitest's own is by what it remembers of the last run, which a fresh checkout has not. */
export class LongestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(files.toSorted((one, other) => rankOf(one.moduleId) - rankOf(other.moduleId)))
  }
}
