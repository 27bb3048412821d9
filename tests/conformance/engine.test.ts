import { afterAll, describe, it } from 'vitest'
import type { Engine } from '../../shared/engine/engine.ts'
import { linkEngine } from '../../shared/engine/engine_link.ts'
import { openEngine } from '../../shared/engine/open_engine.ts'
import { describeHost, loadOrtNode } from '../../shared/engine/ort_node.ts'
import { spawnEngineThread } from '../../shared/engine/spawn_node.ts'
import { engineSuite } from './engine_suite.ts'

const THREAD = new URL('../../functions/worker/engine_thread.ts', import.meta.url)

const opened: Engine[] = []
const kept = async <T extends Engine>(opening: Promise<T>) => {
  const engine = await opening
  opened.push(engine)
  return engine
}
afterAll(() => Promise.all(opened.map((engine) => engine.close())))

const inThisThread = (build?: 'wasm') =>
  openEngine({
    wish: 'auto',
    gpu: undefined,
    host: describeHost(),
    loadOrt: (device) => loadOrtNode(device, build),
  })

const suites = [
  engineSuite('WASM in this thread, jspi', () => kept(inThisThread())),
  engineSuite('WASM in this thread, plain', () => kept(inThisThread('wasm'))),
  engineSuite(
    'WASM in a thread of its own',
    () => kept(linkEngine({ spawn: () => spawnEngineThread(THREAD, 'wasm') })),
  ),
]
for (const { name, cases } of suites) {
  describe(name, () => {
    for (const [name, run] of Object.entries(cases)) it(name, run)
  })
}
