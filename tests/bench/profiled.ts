/** Loaded before a bench child's own file (`node --import`): profiles it between two messages of the benchmark. */
import { type Profiler, Session } from 'node:inspector/promises'
import process from 'node:process'

const session = new Session()
session.connect()

process.on('message', async ({ profile }: { profile?: 'start' | 'stop' }) => {
  if (profile === undefined) return
  if (profile === 'start') {
    await session.post('Profiler.enable')
    await session.post('Profiler.setSamplingInterval', { interval: 200 })
    await session.post('Profiler.start')
    process.send?.({ profiling: true })
  } else {
    const { profile } = await session.post('Profiler.stop')
    process.send?.({ rows: selfTimes(profile) })
  }
})

/** Milliseconds that each function was itself on top of the stack, the longest first. */
function selfTimes({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): [name: string, ms: number][] {
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const file = url.replace(/^.*\/(?=(node_modules|shared|functions|tests)\/)/, '').replace(/^.*node_modules\//, '')
      return [id, `${functionName || '(anonymous)'} ${file && `${file}:${lineNumber + 1}`}`.trim()]
    }),
  )
  const total = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const name = names.get(id) ?? '?'
    total.set(name, (total.get(name) ?? 0) + (timeDeltas[i] ?? 0) / 1000)
  }
  return [...total].sort(([, a], [, b]) => b - a)
}
