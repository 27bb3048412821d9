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
    ;[a, b, c, d] = [
      multiplyHigh(0xcd9e8d57, c) ^ b ^ low,
      Math.imul(0xcd9e8d57, c),
      multiplyHigh(0xd2511f53, a) ^ d ^ high,
      Math.imul(0xd2511f53, a),
    ]
    low = (low + 0x9e3779b9) | 0
    high = (high + 0xbb67ae85) | 0
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0]
}

/** The upper 32 bits of the 64-bit product of two unsigned words. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const carry = (middle & 0xffff) + aLow * bHigh
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0
}
