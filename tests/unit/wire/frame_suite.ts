import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { encode } from '../../../shared/wire/codec.ts'
import { encodeFrame, type Frame, FRAME_TYPES, FrameReader } from '../../../shared/wire/frame.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'

export const frameSuite: Suite = {
  name: 'frames',
  cases: {
    'parts arrive as they were, each at a multiple of 8 of the message': () => {
      for (let length = 0; length < 40; length++) {
        for (let keys = 0; keys < 8; keys++) {
          const parts = [bytes(length), bytes(0), bytes(1), bytes(length * 3)]
          const header = { codec: 'x'.repeat(keys) }
          const [message, ...more] = encodeFrame({ type: 'response', id: 5, header, parts })
          assert.isEmpty(more)
          const frame = readOne(message)
          assert.deepEqual(frame.parts, parts)
          for (const part of frame.parts) {
            assert.equal(part.byteOffset % 8, 0)
            assert.equal(part.buffer, message?.buffer, 'the data are not copied')
          }
          assert.equal(frame.bytes, message?.byteLength)
        }
      }
    },

    'short messages are cut from one buffer, and what was there before does not show': () => {
      const messages: Uint8Array[] = []
      const headers: Frame['header'][] = []
      for (let i = 0; i < 400; i++) {
        // Every other one is given up after much of it was written: its last text is not ASCII.
        const text = 'x'.repeat((i * 37) % 700)
        const header = i % 2 === 0 ? { text } : { text, last: 'é' }
        headers.push(header)
        messages.push(...encodeFrame({ type: 'response', id: i + 1, header, parts: [] }))
      }
      const buffers = new Set(messages.filter((_, i) => i % 2 === 0).map((message) => message.buffer))
      assert.isBelow(buffers.size, 20)
      for (const [i, message] of messages.entries()) {
        assert.deepEqual(readOne(message).header, headers[i])
        const end = 12 + new DataView(message.buffer, message.byteOffset).getUint32(8, true)
        assert.isTrue(message.subarray(end).every((byte) => byte === 0), 'padding')
        assert.equal(message.byteLength, Math.ceil(end / 8) * 8)
      }
    },

    'a large body comes in fragments, in order, and is one again': () => {
      for (const maxBytes of [64, 72, 100, 1000]) {
        for (const sizes of [[500], [8, 8, 8], [1, 0, 7, 300, 9], [64, 64], [0, 0]]) {
          const frame: Frame = { type: 'request', id: 3, header: { a: 1 }, parts: sizes.map(bytes) }
          const messages = encodeFrame(frame, maxBytes)
          for (const message of messages) assert.isAtMost(message.byteLength, maxBytes)
          const reader = new FrameReader()
          const read = messages.map((message) => reader.read(message))
          assert.isTrue(read.slice(0, -1).every((one) => one === undefined))
          const whole = read.at(-1)
          assert.deepEqual(whole?.parts, frame.parts)
          for (const part of whole?.parts ?? []) assert.equal(part.byteOffset % 8, 0)
          assert.equal(whole?.bytes, messages.reduce((total, message) => total + message.byteLength, 0))
          assert.equal(reader.heldBytes, 0)
        }
      }
    },

    'bodies up to the cap pass, one byte more is the sender’s own failure': () => {
      const half = new Uint8Array(LIMITS.maxMessageBytes / 2)
      const messages = encodeFrame({ type: 'response', id: 1, header: {}, parts: [half, half] })
      const reader = new FrameReader()
      const frame = messages.map((message) => reader.read(message)).at(-1)
      assert.equal(frame?.parts[1]?.byteLength, half.byteLength)
      assertRefused(
        () => encodeFrame({ type: 'response', id: 1, header: {}, parts: [half, half, bytes(1)] }),
        /a body may have at most 33554432 bytes, got 33554440/,
        'resource_exhausted',
      )
    },

    'a header over the cap is the sender’s own failure, alone and with a body': () => {
      const header = { text: 'x'.repeat(LIMITS.maxHeaderBytes) }
      for (const parts of [[], [bytes(1)]]) {
        const act = () => encodeFrame({ type: 'request', id: 1, header, parts })
        assertRefused(act, /a header may have at most 98304 bytes/, 'resource_exhausted')
      }
      assertRefused(
        () => encodeFrame({ type: 'request', id: 1, header: { a: 'x'.repeat(64) }, parts: [] }, 64),
        /header/,
        'resource_exhausted',
      )
      const longest = { text: 'x'.repeat(LIMITS.maxHeaderBytes - 20) }
      assert.deepEqual(readOne(encodeFrame({ type: 'request', id: 1, header: longest, parts: [] })[0]).header, longest)
    },

    'a header that fits cannot hold too many values': () => {
      assert.isBelow(LIMITS.maxHeaderBytes, LIMITS.maxNodes)
      const zeros = new Array(LIMITS.maxHeaderBytes - 50).fill(0)
      assert.deepEqual(readOne(encodeFrame({ type: 'request', id: 1, header: { zeros }, parts: [] })[0]).header, {
        zeros,
      })
    },

    'fragments of several frames may alternate': () => {
      const frames = [1, 2, 3].map((id): Frame => ({ type: 'request', id, header: { id }, parts: [bytes(100 * id)] }))
      frames.push({ type: 'response', id: 1, header: { id: 'other way' }, parts: [bytes(250)] })
      const queues = frames.map((frame) => encodeFrame(frame, 64))
      const random = seededRandom(4)
      const reader = new FrameReader()
      const whole: Frame[] = []
      while (queues.some((queue) => queue.length > 0)) {
        const message = queues[Math.floor(random() * queues.length)]?.shift()
        const frame = message && reader.read(message)
        if (frame) whole.push(frame)
      }
      for (const frame of frames) {
        const same = whole.find(({ type, id }) => type === frame.type && id === frame.id)
        assert.deepEqual(same?.parts, frame.parts)
      }
      assert.equal(reader.heldBytes, 0)
    },

    'what does not begin like a frame is refused': () => {
      const good = encodeFrame({ type: 'cancel', id: 1, header: {}, parts: [] })[0] ?? bytes(0)
      const change = (at: number, byte: number) => good.with(at, byte) as Uint8Array
      refused(bytes(0), /expected at least 12 bytes, got 0/)
      refused(bytes(11), /expected at least 12 bytes, got 11/)
      refused(change(0, 0x54), /expected a shoal.v1 frame, got one that begins with 54 01/)
      refused(change(1, 2), /expected a shoal.v1 frame/)
      for (const type of [0, 10, 255]) refused(change(2, type), new RegExp(`unknown type ${type}`))
      for (const flags of [2, 3, 128]) refused(change(3, flags), new RegExp(`unknown flags ${flags}`))
      refused(new Uint8Array(LIMITS.maxFrameBytes + 1), /a frame may have at most 1048576 bytes, got 1048577/)
      assert.equal(new FrameReader(LIMITS.maxFrameBytes + 100).read(good)?.type, 'cancel')
    },

    'headers that do not fit or are no maps are refused': () => {
      const raw = (headerBytes: number, content: Uint8Array, type = FRAME_TYPES.cancel) =>
        rawFrame(type, 0, 1, headerBytes, content)
      refused(raw(2, Uint8Array.of(0x80)), /must fit its message of 13, got 2$/)
      refused(raw(0xffffffff, Uint8Array.of(0x80)), /got 4294967295$/)
      refused(raw(LIMITS.maxHeaderBytes + 1, new Uint8Array(LIMITS.maxHeaderBytes + 1)), /a header may have at most/)
      for (const content of [[0x90], [0xc0], [0x01], [0xa1, 0x61], [0xc4, 0x01, 0x00]]) {
        refused(raw(content.length, Uint8Array.from(content)), /a header must be a map, got /)
      }
      refused(raw(1, Uint8Array.of(0x81)), /runs past the end/)
      refused(raw(2, Uint8Array.of(0x80, 0x80)), /expected one value/)
    },

    'calls have numbers, other frames have none': () => {
      for (const [type, code] of Object.entries(FRAME_TYPES)) {
        const isControl = ['hello', 'welcome', 'goodbye'].includes(type)
        const header = Uint8Array.of(0x80)
        assert.equal(new FrameReader().read(rawFrame(code, 0, isControl ? 0 : 1, 1, header))?.type, type)
        refused(
          rawFrame(code, 0, isControl ? 1 : 0, 1, header),
          isControl ? /must not name a call, got id 1/ : /must name a call, got id 0/,
        )
      }
    },

    'only requests, responses and chunks have bodies, and fragments': () => {
      for (const [type, code] of Object.entries(FRAME_TYPES)) {
        const id = ['hello', 'welcome', 'goodbye'].includes(type) ? 0 : 1
        const header = encode({ parts: [8] })
        const content = new Uint8Array(20)
        content.set(header)
        const message = rawFrame(code, 0, id, header.byteLength, content)
        if (['request', 'response', 'chunk'].includes(type)) assert.equal(readOne(message).parts.length, 1)
        else refused(message, /has no body, got \d+ bytes/)
        const more = rawFrame(code, 1, id, 1, Uint8Array.of(0x80))
        if (['request', 'response', 'chunk'].includes(type)) assert.isUndefined(new FrameReader().read(more))
        else refused(more, /has no body, got a fragment/)
      }
    },

    'parts must add up to the body': () => {
      const body = (parts: unknown, bodyBytes: number) => {
        const header = encode(parts === undefined ? {} : { parts })
        const at = Math.ceil((12 + header.byteLength) / 8) * 8
        const content = new Uint8Array(at - 12 + bodyBytes)
        content.set(header)
        return rawFrame(FRAME_TYPES.request, 0, 1, header.byteLength, content)
      }
      assert.deepEqual(readOne(body([3, 8], 16)).parts.map((part) => part.byteLength), [3, 8])
      assert.deepEqual(readOne(body([], 0)).parts, [])
      for (const parts of [undefined, 8, 'x', { 0: 8 }, null]) {
        refused(body(parts, 8), /"parts" must list the sizes of the body's parts, got /)
      }
      for (
        const size of [-1, -8, 9, 1.5, NaN, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 64, '8', null, [8], { toString: 1 }]
      ) {
        refused(body([size], 8), /part 0 must fit a body of 8 bytes, got .+ bytes from 0 on/)
        refused(body([0, size], 8), /part 1 must fit/)
      }
      refused(body([8], 16), /parts must cover the body, got 8 bytes of them and 16 of the body/)
      refused(body([3], 3), /got 8 bytes of them and 3 of the body/)
      refused(body([8, 8], 8), /part 1 must fit a body of 8 bytes, got 8 bytes from 8 on/)
      refused(body([], 8), /got 0 bytes of them and 8 of the body/)
      refused(body([2 ** 53 - 1, 2 ** 53 - 1], 8), /part 0 must fit/)
    },

    'a fragment without its beginning is refused, and a second beginning': () => {
      const [first, second] = encodeFrame({ type: 'request', id: 1, header: {}, parts: [bytes(100)] }, 64)
      if (!first || !second) throw new Error('expected two messages')
      refused(second, /a fragment of request 1 without its beginning/)
      const last = second.with(3, 0) as Uint8Array
      refused(last, /without its beginning/)
      const reader = new FrameReader()
      reader.read(first)
      assertRefused(() => reader.read(first), /request 1 begins a second time/)
    },

    'unfinished frames are bounded in number': () => {
      const reader = new FrameReader()
      const begin = (id: number) =>
        rawFrame(FRAME_TYPES.request, 1, id, 1, new Uint8Array(20).with(0, 0x80) as Uint8Array)
      for (let id = 1; id <= LIMITS.maxUnfinishedFrames; id++) assert.isUndefined(reader.read(begin(id)))
      assertRefused(() => reader.read(begin(1000)), /at most 16 frames may be unfinished, got one more/)
      reader.abandon('request', 1)
      assert.isUndefined(reader.read(begin(1000)))
    },

    'unfinished frames are bounded in bytes, each and together': () => {
      const filler = (id: number) => rawFrame(FRAME_TYPES.request, 1, id, 0, new Uint8Array(LIMITS.maxFrameBytes - 12))
      const begin = (id: number) =>
        rawFrame(FRAME_TYPES.request, 1, id, 1, new Uint8Array(20).with(0, 0x80) as Uint8Array)
      const alone = new FrameReader()
      alone.read(begin(1))
      assertRefused(() => {
        for (let i = 0; i <= 32; i++) alone.read(filler(1))
      }, /a body may have at most 33554432 bytes, got \d+/)
      const together = new FrameReader()
      assertRefused(() => {
        for (let id = 1; id <= 3; id++) {
          together.read(begin(id))
          for (let i = 0; i < 31; i++) together.read(filler(id))
        }
      }, /unfinished frames may have at most 67108864 bytes, got \d+/)
    },

    'fragments without content cost what they take to hold': () => {
      const reader = new FrameReader()
      reader.read(rawFrame(FRAME_TYPES.request, 1, 1, 1, new Uint8Array(20).with(0, 0x80) as Uint8Array))
      const empty = rawFrame(FRAME_TYPES.request, 1, 1, 0, new Uint8Array(4))
      let fragments = 0
      assertRefused(() => {
        for (; fragments < 1_000_000; fragments++) reader.read(empty)
      }, /unfinished frames may have at most/)
      assert.isBelow(fragments, 300_000)
    },

    'a discarded frame is let go, and its rest comes to nothing': () => {
      const messages = encodeFrame({ type: 'response', id: 1, header: { a: 1 }, parts: [bytes(300)] }, 64)
      const reader = new FrameReader()
      const [first, second, ...rest] = messages
      if (!first || !second) throw new Error('expected several messages')
      reader.read(first)
      reader.read(second)
      assert.isAbove(reader.heldBytes, 100)
      reader.discard('response', 1)
      assert.equal(reader.heldBytes, 0)
      const read = rest.map((message) => reader.read(message))
      assert.deepEqual(read.at(-1)?.parts, [])
      assert.equal(read.at(-1)?.type, 'response')
      assert.deepEqual(read.at(-1)?.header, {})
      // The number is free again.
      assert.equal(messages.map((message) => reader.read(message)).at(-1)?.parts[0]?.byteLength, 300)
      reader.discard('response', 99)
      reader.abandon('response', 99)
    },
  },
}

function bytes(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => i)
}

function rawFrame(type: number, flags: number, id: number, headerBytes: number, content: Uint8Array): Uint8Array {
  const message = new Uint8Array(12 + content.byteLength)
  message.set([0x53, 1, type, flags])
  const view = new DataView(message.buffer)
  view.setUint32(4, id, true)
  view.setUint32(8, headerBytes, true)
  message.set(content, 12)
  return message
}

function readOne(message: Uint8Array | undefined) {
  const frame = new FrameReader().read(message ?? new Uint8Array(0))
  if (!frame) throw new Error('expected a whole frame')
  return frame
}

function refused(message: Uint8Array, expected: RegExp): void {
  assertRefused(() => new FrameReader().read(message), expected)
}
