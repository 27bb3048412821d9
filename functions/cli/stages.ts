import type { Metadata } from '../../shared/rpc/send.ts'

/** A call's stages for people, from its server-timing: "queue 0.1, load 12.0, wait 0.0, run 3.2, wire 1.1". */
export function stagesOf(metadata: Metadata): string {
  const stages = [...(metadata['server-timing'] ?? '').matchAll(/(\w+);dur=([\d.]+)/g)]
  return stages.map(([, name, ms]) => `${name} ${Number(ms).toFixed(1)}`).join(', ')
}
