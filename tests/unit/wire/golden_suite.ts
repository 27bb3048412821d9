import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { toHex } from '../../../shared/base/bytes.ts'
import { decode, encode } from '../../../shared/wire/codec.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodeFrame, FrameReader } from '../../../shared/wire/frame.ts'
import { decodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { compact, FRAMES, fromHex, MESSAGES } from './golden.ts'

const cases: Suite['cases'] = {}

for (const { name, why, value, hex } of MESSAGES) {
  cases[`message "${name}": ${why}`] = () => {
    assert.equal(toHex(encode(value)), compact(hex))
    assertSame(decode(fromHex(hex)), value)
  }
}

for (const { name, why, frame, maxBytes, hex } of FRAMES) {
  cases[`frame "${name}": ${why}`] = () => {
    assert.deepEqual(encodeFrame(frame, maxBytes).map(toHex), hex.map(compact))
    const reader = new FrameReader()
    const messages = hex.map(fromHex)
    for (const message of messages.slice(0, -1)) assert.isUndefined(reader.read(message))
    const read = reader.read(messages.at(-1) ?? new Uint8Array(0))
    assert.equal(read?.type, frame.type)
    assert.equal(read?.id, frame.id)
    const { parts, ...header } = read?.header ?? {}
    assert.deepEqual(header, frame.header)
    assert.deepEqual((parts ?? []) as number[], frame.parts.map((part) => part.byteLength))
    assert.deepEqual(read?.parts.map(toHex), frame.parts.map(toHex))
    assert.equal(reader.heldBytes, 0)
  }
}

/** Changed bytes in one run of the mutation cases: enough to meet each kind of refusal, in well under a second. */
const MUTATIONS_PER_VECTOR = 400

export const goldenSuite: Suite = {
  name: 'golden vectors',
  cases: {
    ...cases,

    'a message cut off anywhere is refused': () => {
      for (const { name, hex } of MESSAGES) {
        const bytes = fromHex(hex)
        for (let end = 0; end < bytes.length; end++) {
          assertInvalid(() => decode(bytes.slice(0, end)), `${name} at ${end}`)
        }
      }
    },

    'a frame cut off anywhere is refused, or waits for more': () => {
      for (const { name, hex } of FRAMES) {
        const messages = hex.map(fromHex)
        const last = messages.pop() ?? new Uint8Array(0)
        for (let end = 0; end < last.length; end++) {
          const reader = new FrameReader()
          for (const message of messages) reader.read(message)
          // A header that ends with its message needs no padding: nothing of the frame is missing then.
          const whole = end >= 12 + (last[8] ?? 0) + 256 * (last[9] ?? 0) && hex.length === 1 && !hasBody(last)
          if (!whole) assertInvalid(() => reader.read(last.slice(0, end)), `${name} at ${end}`)
        }
        for (const [i, message] of messages.entries()) {
          for (let end = 0; end < 12; end++) {
            assertInvalid(() => new FrameReader().read(message.slice(0, end)), `${name}, message ${i}, at ${end}`)
          }
        }
      }
    },

    'a message with one byte changed gives a value or a refusal, and nothing else': () => {
      const random = seededRandom(1)
      for (const { name, hex } of MESSAGES) {
        const bytes = fromHex(hex)
        let refused = 0
        for (let i = 0; i < MUTATIONS_PER_VECTOR; i++) {
          const [at, byte] = [Math.floor(random() * bytes.length), Math.floor(random() * 256)]
          const changed = bytes.slice()
          changed[at] = byte
          refused += valueOrRefusal(() => decode(changed), `${name} with ${byte} at ${at}`)
        }
        assert.isBelow(refused, MUTATIONS_PER_VECTOR, name)
      }
    },

    'a frame with one byte changed gives a frame or a refusal, and nothing else': () => {
      const random = seededRandom(2)
      for (const { name, hex } of FRAMES) {
        const messages = hex.map(fromHex)
        for (let i = 0; i < MUTATIONS_PER_VECTOR; i++) {
          const which = Math.floor(random() * messages.length)
          const changed = messages.map((message) => message.slice())
          const message = changed[which] ?? new Uint8Array(1)
          const [at, byte] = [Math.floor(random() * message.length), Math.floor(random() * 256)]
          message[at] = byte
          const reader = new FrameReader()
          valueOrRefusal(() => {
            for (const one of changed) {
              const frame = reader.read(one)
              const structure = frame?.header.message
              if (frame) decodePayload({ codec: 'tensors', structure, parts: frame.parts })
            }
          }, `${name} with ${byte} at ${at} of message ${which}`)
        }
      }
    },
  },
}

function hasBody(message: Uint8Array): boolean {
  return new FrameReader().read(message)?.parts.length !== 0
}

/** Deep equality in which tensors are their dtype, shape and bytes, and -0 is not 0. */
function assertSame(actual: unknown, expected: unknown): void {
  assert.deepEqual(plainOf(actual), plainOf(expected))
}

function plainOf(value: unknown): unknown {
  if (value instanceof Tensor) return { tensor: value.dtype, shape: value.shape, bytes: toHex(value.bytes) }
  if (value instanceof Uint8Array) return { bytes: toHex(value) }
  if (Array.isArray(value)) return value.map(plainOf)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined)
  return Object.fromEntries(entries.map(([key, entry]) => [key, plainOf(entry)]))
}

/** @returns 1 if it was refused */
function valueOrRefusal(action: () => unknown, what: string): number {
  try {
    action()
    return 0
  } catch (thrown) {
    if (!(thrown instanceof RpcError) || thrown.code !== 'invalid_argument') throw new Error(what, { cause: thrown })
    return 1
  }
}

function assertInvalid(action: () => unknown, what: string): void {
  assert.equal(valueOrRefusal(action, what), 1, `${what} was not refused`)
}
