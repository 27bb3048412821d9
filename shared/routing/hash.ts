/** A number for a text, 32 bits, well mixed (FNV-1a and murmur3's finalizer). The same everywhere; not for secrets. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return mix(hash)
}

/** A number for two, 32 bits: another for each pair, and for the same pair always the same. */
export function hashPair(a: number, b: number): number {
  return mix(a ^ Math.imul(b, 0x9e3779b1))
}

function mix(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
