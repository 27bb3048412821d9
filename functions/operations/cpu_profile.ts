/** The part of a CPU profile that is read here. https://chromedevtools.github.io/devtools-protocol/v8/Profiler */
export interface CpuProfile {
  nodes: readonly {
    id: number
    callFrame: { functionName: string; url: string; lineNumber: number }
    children?: readonly number[]
  }[]
  samples?: readonly number[]
}

export interface HotFunction {
  /** `name file:line`. */
  place: string
  /** Part of the samples that were in the function itself. */
  share: number
}

/** What V8 calls time outside of any function. */
const IDLE = new Set(['(idle)', '(root)', '(program)'])

/** Where the time went: functions by their own time, and the stack that was seen most, from the outermost call in. */
export function readProfile(
  { nodes, samples = [] }: CpuProfile,
): { busy: number; hot: HotFunction[]; stack: string[] } {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  const [byPlace, byNode] = [new Map<string, number>(), new Map<number, number>()]
  let busy = 0
  for (const id of samples) {
    const node = byId.get(id)
    if (!node || IDLE.has(node.callFrame.functionName)) continue
    busy++
    add(byPlace, placeOf(node.callFrame))
    add(byNode, id)
  }
  const total = Math.max(1, samples.length)
  const hot = [...byPlace].sort(([, a], [, b]) => b - a).map(([place, count]) => ({ place, share: count / total }))
  const [deepest] = [...byNode].sort(([, a], [, b]) => b - a)[0] ?? []
  const stack: string[] = []
  for (let id: number | undefined = deepest; id !== undefined; id = parents.get(id)) {
    const node = byId.get(id)
    if (node && !IDLE.has(node.callFrame.functionName)) stack.unshift(placeOf(node.callFrame))
  }
  return { busy: busy / total, hot, stack }
}

function placeOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName || '(anonymous)'
  return url ? `${name} ${url.replace(/^file:\/\//, '')}:${lineNumber + 1}` : name
}

function add<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
