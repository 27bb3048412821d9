import { describe, expect, it } from 'vitest'
import { decode, decodeJson } from '../../../shared/wire/codec.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { FrameReader } from '../../../shared/wire/frame.ts'

const MiB = 2 ** 20

/** Twenty nested arrays of 30 million entries each, and the same headers up to `bytes`. */
function bomb(bytes: number): Uint8Array {
  const message = new Uint8Array(bytes)
  for (let at = 0; at + 5 <= bytes; at += 5) message.set([0xdd, 0x01, 0xc9, 0xc3, 0x80], at)
  return message
}

/** What refusing a message adds to the process's memory, in bytes. */
function growthOf(act: () => unknown): number {
  expect(act).toThrow(RpcError)
  const before = process.memoryUsage()
  for (let i = 0; i < 20; i++) expect(act).toThrow(RpcError)
  const after = process.memoryUsage()
  return Math.max(after.rss - before.rss, after.arrayBuffers - before.arrayBuffers)
}

describe('messages that would take a decoder down', () => {
  it('are refused without memory: nested headers of 30 million, in 100 bytes and in 10 KB', () => {
    for (const size of [100, 10_000]) expect(growthOf(() => decode(bomb(size)))).toBeLessThan(5 * MiB)
  })

  it('are refused without memory: five million levels', () => {
    const deep = new Uint8Array(5_000_000).fill(0x91)
    expect(growthOf(() => decode(deep))).toBeLessThan(5 * MiB)
  })

  it('are refused without memory as a header of a frame', () => {
    const message = new Uint8Array(12 + 10_000)
    message.set([0x53, 1, 1, 0, 1, 0, 0, 0, 0x10, 0x27, 0, 0])
    message.set(bomb(10_000), 12)
    expect(growthOf(() => new FrameReader().read(message))).toBeLessThan(5 * MiB)
  })

  it('are refused without memory in JSON: objects without end', () => {
    const text = new TextEncoder().encode(`[${'{},'.repeat(300_000)}{}]`)
    // The text is decoded once before it is looked at.
    expect(growthOf(() => decodeJson(text))).toBeLessThan(5 * MiB + 20 * text.byteLength)
  })
})
