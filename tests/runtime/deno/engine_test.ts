import { linkEngine } from '../../../shared/engine/engine_link.ts'
import { openEngine } from '../../../shared/engine/open_engine.ts'
import { describeHost, loadOrtNode } from '../../../shared/engine/ort_node.ts'
import { spawnEngineThread } from '../../../shared/engine/spawn_node.ts'
import { engineSuite } from '../../conformance/engine_suite.ts'

const THREAD = new URL('../../../functions/worker/engine_thread.ts', import.meta.url)

const suites = [
  engineSuite(
    'WASM in this thread',
    () => openEngine({ wish: 'wasm', gpu: undefined, host: describeHost(), loadOrt: loadOrtNode }),
  ),
  engineSuite('WASM in a thread of its own', () => linkEngine({ spawn: () => spawnEngineThread(THREAD, 'wasm') })),
]
for (const { name, cases } of suites) {
  for (const [title, run] of Object.entries(cases)) {
    // The cases of a suite share one engine, which the last of them closes.
    const shared = { sanitizeOps: false, sanitizeResources: false }
    Deno.test({ name: `${name}: ${title}`, fn: async () => await run(), ...shared })
  }
}
