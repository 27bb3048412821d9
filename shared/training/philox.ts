type Words = readonly [number, number, number, number]

/**
 * Philox 4x32-10: four random 32-bit words from a counter and a key, without state, the same on every machine.
 * Source: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
 * @param counter,key whole numbers, of which the low 32 bits count
 * @returns words from 0 to 2^32 − 1
 */
export function philox(counter: Words, key: readonly [number, number]): Words {
  let [a, b, c, d] = counter
  let [low, high] = key
  for (let round = 0; round < 10; round++) {
    // One by one: arrays to swap them would be most of the work.
    const [fromC, fromA] = [multiplyHigh(0xcd9e8d57, c), multiplyHigh(0xd2511f53, a)]
    const [lowC, lowA] = [Math.imul(0xcd9e8d57, c), Math.imul(0xd2511f53, a)]
    a = fromC ^ b ^ low
    c = fromA ^ d ^ high
    b = lowC
    d = lowA
    low = (low + 0x9e3779b9) | 0
    high = (high + 0xbb67ae85) | 0
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0]
}

/** The upper 32 bits of the 64-bit product of two unsigned words, as a signed one. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  // Products of halves stay below 2^32: unsigned shifts read them whole.
  const middle = Math.imul(aHigh, bLow)
  const low = (middle & 0xffff) + (Math.imul(aLow, bLow) >>> 16)
  const carry = (low & 0xffff) + (Math.imul(aLow, bHigh) & 0xffff)
  const high = (middle >>> 16) + (Math.imul(aLow, bHigh) >>> 16) + (low >>> 16) + (carry >>> 16)
  return (Math.imul(aHigh, bHigh) + high) | 0
}
