import { describe, expect, it } from 'vitest'
import {
  alignUp,
  byteLengthOf,
  concat,
  constantTimeEqual,
  decodeUtf8,
  EMPTY,
  encodeUtf8,
  readAll,
  sha256Hex,
  toHex,
} from '../../../shared/base/bytes.ts'

describe('concat', () => {
  it('joins parts in order, views of larger buffers included', () => {
    const whole = Uint8Array.of(0, 1, 2, 3, 4)
    expect([...concat([whole.subarray(1, 3), EMPTY, Uint8Array.of(9)])]).toEqual([1, 2, 9])
    expect(concat([]).byteLength).toBe(0)
  })

  it('gives a single part back without a copy', () => {
    const part = Uint8Array.of(1, 2)
    expect(concat([part])).toBe(part)
  })

  it('has the length that byteLengthOf foretells', () => {
    const parts = [new Uint8Array(3), new Uint8Array(0), new Uint8Array(8).subarray(2)]
    expect(byteLengthOf(parts)).toBe(9)
    expect(concat(parts).byteLength).toBe(9)
  })
})

describe('alignUp', () => {
  it('finds the next multiple, and leaves a multiple alone', () => {
    expect([0, 1, 7, 8, 9].map((value) => alignUp(value, 8))).toEqual([0, 8, 8, 8, 16])
    expect(alignUp(5, 1)).toBe(5)
  })

  it('is exact beyond 32 bits', () => {
    expect(alignUp(2 ** 31 - 3, 8)).toBe(2 ** 31)
    expect(alignUp(2 ** 32 + 1, 8)).toBe(2 ** 32 + 8)
    expect(alignUp(2 ** 40, 16)).toBe(2 ** 40)
  })
})

describe('constantTimeEqual', () => {
  it('agrees with ===', () => {
    const texts = ['', 'a', 'b', 'aa', 'ab', 'ba', 'abab', '\u0000', '\u0000\u0000', 'é', 'key_1234', 'key_1235']
    for (const left of texts) {
      for (const right of texts) expect(constantTimeEqual(left, right), `${left} ? ${right}`).toBe(left === right)
    }
  })

  it('looks at every character, wherever the first difference lies', () => {
    const reads = (text: string, other: string) => {
      let count = 0
      const counted = {
        length: text.length,
        charCodeAt: (i: number) => {
          count++
          return text.charCodeAt(i)
        },
      }
      constantTimeEqual(counted as unknown as string, other)
      return count
    }
    expect(reads('xbcdef', 'abcdef')).toBe(6)
    expect(reads('abcdex', 'abcdef')).toBe(6)
    expect(reads('abcdef', 'abcdef')).toBe(6)
  })
})

describe('UTF-8', () => {
  it('keeps a byte order mark and refuses broken bytes', () => {
    expect(decodeUtf8(encodeUtf8('\ufeffsea 🐟'))).toBe('\ufeffsea 🐟')
    for (const broken of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82]]) {
      expect(() => decodeUtf8(Uint8Array.from(broken))).toThrow(TypeError)
    }
  })
})

describe('SHA-256', () => {
  it('matches the vectors of FIPS 180-2', async () => {
    expect(await sha256Hex(EMPTY)).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
    expect(await sha256Hex(encodeUtf8('abc'))).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
    expect(toHex(Uint8Array.of(0, 10, 255))).toBe('000aff')
  })
})

/** A stream of `sizes` bytes per chunk that records whether it was cancelled, and how many chunks were pulled. */
function streamOf(sizes: readonly number[]) {
  const seen = { pulled: 0, cancelled: false }
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const size = sizes[seen.pulled]
      if (size === undefined) return controller.close()
      controller.enqueue(new Uint8Array(size).fill(++seen.pulled))
    },
    cancel() {
      seen.cancelled = true
    },
  }, { highWaterMark: 0 })
  return { stream, seen }
}

describe('readAll', () => {
  it('collects chunks in order', async () => {
    const bytes = await readAll(streamOf([2, 0, 1]).stream, 10)
    expect([...bytes ?? []]).toEqual([1, 1, 3])
  })

  it('takes exactly maxBytes and not one more', async () => {
    expect((await readAll(streamOf([3, 2]).stream, 5))?.byteLength).toBe(5)
    expect(await readAll(streamOf([3, 3]).stream, 5)).toBeUndefined()
  })

  it('stops reading and cancels as soon as the cap is passed', async () => {
    const { stream, seen } = streamOf([4, 4, 4, 4, 4])
    expect(await readAll(stream, 6)).toBeUndefined()
    expect(seen).toEqual({ pulled: 2, cancelled: true })
  })

  it('reads no body as no bytes', async () => {
    expect((await readAll(null, 0))?.byteLength).toBe(0)
    expect((await readAll(streamOf([]).stream, 0))?.byteLength).toBe(0)
  })

  it('fails as the stream fails', async () => {
    const broken = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(new Error('cut off')) })
    await expect(readAll(broken, 10)).rejects.toThrow('cut off')
  })
})
