import type { Frame } from '../../../shared/wire/frame.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'

export interface FrameVector {
  name: string
  why: string
  frame: Frame
  /** Longest message, where it is not the default. */
  maxBytes?: number
  /** One entry per message. */
  hex: readonly string[]
}

const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

export const FRAMES: readonly FrameVector[] = [
  {
    name: 'request',
    why: 'as short as one gets: a message without tensors stands in the header',
    frame: {
      type: 'request',
      id: 1,
      header: {
        message: { name: 'sea' },
        service: 'demo.Hello',
        method: 'sayHello',
        timeoutMs: 500,
        traceparent: TRACE,
      },
      parts: [],
    },
    hex: [`
        53010100 01000000 88000000 85a76d65 73736167 6581a46e 616d65a3 736561a7
        73657276 696365aa 64656d6f 2e48656c 6c6fa66d 6574686f 64a87361 7948656c
        6c6fa974 696d656f 75744d73 cd01f4ab 74726163 65706172 656e74d9 3730302d
        30616637 36353139 31366364 34336464 38343438 65623231 31633830 33313963
        2d623761 64366237 31363932 30333333 312d3031 00000000`],
  },
  {
    name: 'request with everything',
    why: 'every field of the header, and a tensor as a part',
    frame: {
      type: 'request',
      id: 0xffffffff,
      header: {
        message: { x: { $tensor: 'float32', shape: [2], part: 0 } },
        service: 'demo.Sum',
        method: 'watch',
        timeoutMs: 30000,
        traceparent: TRACE,
        version: '^1.2.0',
        group: 'blue',
        stream: true,
        idempotent: true,
        metadata: { 'x-tenant': 'a' },
      },
      parts: [Tensor.from('float32', [2], [1, 2]).bytes],
    },
    hex: [`
        53010100 ffffffff e6000000 8ba76d65 73736167 6581a178 83a72474 656e736f
        72a7666c 6f617433 32a57368 61706591 02a47061 727400a7 73657276 696365a8
        64656d6f 2e53756d a66d6574 686f64a5 77617463 68a97469 6d656f75 744d73cd
        7530ab74 72616365 70617265 6e74d937 30302d30 61663736 35313931 36636434
        33646438 34343865 62323131 63383033 3139632d 62376164 36623731 36393230
        33333331 2d3031a7 76657273 696f6ea6 5e312e32 2e30a567 726f7570 a4626c75
        65a67374 7265616d c3aa6964 656d706f 74656e74 c3a86d65 74616461 746181a8
        782d7465 6e616e74 a161a570 61727473 91080000 00000000 0000803f 00000040`],
  },
  {
    name: 'response',
    why: 'two tensors: each part begins at a multiple of 8, and the body ends at one',
    frame: {
      type: 'response',
      id: 7,
      header: {
        message: { a: { $tensor: 'uint8', shape: [3], part: 0 }, b: { $tensor: 'int16', shape: [2], part: 1 } },
        metadata: { 'shoal-worker': 'w1' },
      },
      parts: [Uint8Array.of(1, 2, 3), Tensor.from('int16', [2], [4, 5]).bytes],
    },
    hex: [`
        53010200 07000000 6b000000 83a76d65 73736167 6582a161 83a72474 656e736f
        72a57569 6e7438a5 73686170 659103a4 70617274 00a16283 a7247465 6e736f72
        a5696e74 3136a573 68617065 9102a470 61727401 a86d6574 61646174 6181ac73
        686f616c 2d776f72 6b6572a2 7731a570 61727473 92030400 01020300 00000000
        04000500 00000000`],
  },
  {
    name: 'response in JSON',
    why: 'an opaque body goes through a socket as it is',
    frame: { type: 'response', id: 7, header: { codec: 'json' }, parts: [new TextEncoder().encode('{"sum":3}')] },
    hex: [`
        53010200 07000000 14000000 82a5636f 646563a4 6a736f6e a5706172 74739109
        7b227375 6d223a33 7d000000 00000000`],
  },
  {
    name: 'response with an error',
    why: 'code and message, details, and what only sockets carry',
    frame: {
      type: 'response',
      id: 7,
      header: {
        error: {
          code: 'resource_exhausted',
          message: 'Cannot queue the call: the queue is full',
          details: [{ queued: 2048 }],
          retryAfterMs: 250,
          neverSent: true,
        },
      },
      parts: [],
    },
    hex: [`
        53010200 07000000 80000000 81a56572 726f7285 a4636f64 65b27265 736f7572
        63655f65 78686175 73746564 a76d6573 73616765 d9284361 6e6e6f74 20717565
        75652074 68652063 616c6c3a 20746865 20717565 75652069 73206675 6c6ca764
        65746169 6c739181 a6717565 756564cd 0800ac72 65747279 41667465 724d73cc
        faa96e65 76657253 656e74c3 00000000`],
  },
  {
    name: 'beginning of a stream',
    why: 'a response without a message: chunks follow',
    frame: { type: 'response', id: 8, header: { stream: true }, parts: [] },
    hex: ['53010200 08000000 09000000 81a67374 7265616d c3000000'],
  },
  {
    name: 'chunk',
    why: 'one item of a stream',
    frame: { type: 'chunk', id: 8, header: { message: { token: 'sea' } }, parts: [] },
    hex: ['53010300 08000000 14000000 81a76d65 73736167 6581a574 6f6b656e a3736561'],
  },
  {
    name: 'chunk in fragments',
    why: 'messages of at most 64 bytes: the header goes with the first alone, the flag with all but the last',
    frame: {
      type: 'chunk',
      id: 9,
      header: { codec: 'msgpack' },
      parts: [Uint8Array.from({ length: 100 }, (_, i) => i)],
    },
    maxBytes: 64,
    hex: [
      `
        53010301 09000000 17000000 82a5636f 646563a7 6d736770 61636ba5 70617274
        73916400 00000000 00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617`,
      `
        53010301 09000000 00000000 00000000 18191a1b 1c1d1e1f 20212223 24252627
        28292a2b 2c2d2e2f 30313233 34353637 38393a3b 3c3d3e3f 40414243 44454647`,
      `
        53010300 09000000 00000000 00000000 48494a4b 4c4d4e4f 50515253 54555657
        58595a5b 5c5d5e5f 60616263 00000000`,
    ],
  },
  {
    name: 'end',
    why: 'of a stream',
    frame: { type: 'end', id: 8, header: {}, parts: [] },
    hex: ['53010400 08000000 01000000 80000000'],
  },
  {
    name: 'end with an error',
    why: 'a stream that failed after it began',
    frame: {
      type: 'end',
      id: 8,
      header: { error: { code: 'unavailable', message: 'Cannot finish the stream: the worker left' } },
      parts: [],
    },
    hex: [`
        53010400 08000000 4c000000 81a56572 726f7282 a4636f64 65ab756e 61766169
        6c61626c 65a76d65 73736167 65d92943 616e6e6f 74206669 6e697368 20746865
        20737472 65616d3a 20746865 20776f72 6b657220 6c656674`],
  },
  {
    name: 'cancel',
    why: 'the caller no longer waits',
    frame: { type: 'cancel', id: 8, header: {}, parts: [] },
    hex: ['53010500 08000000 01000000 80000000'],
  },
  {
    name: 'credit',
    why: 'the reader of a stream took half of its window',
    frame: { type: 'credit', id: 8, header: { bytes: 524288 }, parts: [] },
    hex: ['53010900 08000000 0c000000 81a56279 746573ce 00080000'],
  },
  {
    name: 'hello',
    why: "a worker's first frame; control frames have the number 0",
    frame: {
      type: 'hello',
      id: 0,
      header: {
        token: 't',
        name: 'laptop',
        incarnation: 'life_1',
        info: { device: 'wasm', build: 'b', adapter: '', fallbackAdapter: false, fp16: false, reason: 'no GPU' },
        models: [],
      },
      parts: [],
    },
    hex: [`
        53010600 00000000 78000000 85a5746f 6b656ea1 74a46e61 6d65a66c 6170746f
        70ab696e 6361726e 6174696f 6ea66c69 66655f31 a4696e66 6f86a664 65766963
        65a47761 736da562 75696c64 a162a761 64617074 6572a0af 66616c6c 6261636b
        41646170 746572c2 a4667031 36c2a672 6561736f 6ea66e6f 20475055 a66d6f64
        656c7390 00000000`],
  },
  {
    name: 'welcome',
    why: "the relay's answer",
    frame: {
      type: 'welcome',
      id: 0,
      header: { worker: 'w_1', relay: 'relay_1', pingIntervalMs: 10000 },
      parts: [],
    },
    hex: [`
        53010700 00000000 2c000000 83a6776f 726b6572 a3775f31 a572656c 6179a772
        656c6179 5f31ae70 696e6749 6e746572 76616c4d 73cd2710`],
  },
  {
    name: 'goodbye',
    why: 'a worker that finishes what it has and leaves',
    frame: { type: 'goodbye', id: 0, header: { reason: 'draining' }, parts: [] },
    hex: ['53010800 00000000 11000000 81a67265 61736f6e a8647261 696e696e 67000000'],
  },
]
