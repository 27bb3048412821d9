/** Runs the engine suite on the package `webgpu`, and prints a line of JSON: what it ran on, and what each case did. */
import { linkEngine } from '../../shared/engine/engine_link.ts'
import { spawnEngineThread } from '../../shared/engine/spawn_node.ts'
import { runSuites } from '../suite.ts'
import { engineSuite, networkOutputs } from './engine_suite.ts'

const [, , entry = ''] = process.argv
const thread = new URL('../../functions/worker/engine_thread.ts', import.meta.url)
const open = () => linkEngine({ spawn: () => spawnEngineThread(thread, 'webgpu', { kind: 'webgpu', entry }) })

const engine = await open()
// Before its results: the suite closes the engine that it has opened.
const { info } = engine
const results = await runSuites([engineSuite('webgpu', () => Promise.resolve(engine))], 60_000)
// A lost device's thread is replaced: two more at once, after one has ended.
const again = await Promise.all([open(), open()])
const outputs = await Promise.all(again.map(networkOutputs))
await Promise.all(again.map((engine) => engine.close()))
console.log(JSON.stringify({ info, results, outputs }))
process.exit(0)
