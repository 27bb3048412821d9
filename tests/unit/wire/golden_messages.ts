import { Tensor } from '../../../shared/wire/tensor.ts'

export interface MessageVector {
  name: string
  why: string
  value: unknown
  /** Bytes in hex; spaces and line breaks mean nothing. */
  hex: string
}

export const MESSAGES: readonly MessageVector[] = [
  { name: 'nil', why: 'the shortest message; also what stands for nothing', value: null, hex: 'c0' },
  { name: 'booleans', why: 'both of them', value: [true, false], hex: '92c3c2' },
  {
    name: 'integers',
    why: 'each in its shortest form: both sides of every step from fixint to 64 bits',
    value: [0, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1],
    hex: `
      9a007fcc 80ccffcd 0100cdff ffce0001 0000ceff ffffffcf 00000001 00000000
      cf001fff ffffffff ff`,
  },
  {
    name: 'negative integers',
    why: 'the same below zero',
    value: [-1, -32, -33, -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53) + 1],
    hex: `
      9affe0d0 dfd080d1 ff7fd180 00d2ffff 7fffd280 000000d3 ffffffff 7fffffff
      d3ffe000 00000000 01`,
  },
  {
    name: 'floats',
    why: 'what is no safe integer is a float64, NaN and infinities too',
    value: [0.5, -0.1, 2 ** 53, NaN, Infinity, -Infinity],
    hex: `
      96cb3fe0 00000000 0000cbbf b9999999 99999acb 43400000 00000000 cb7ff800
      00000000 00cb7ff0 00000000 0000cbff f0000000 000000`,
  },
  {
    name: 'texts',
    why: 'UTF-8: one to four bytes a character',
    value: ['', 'sea', 'é', '€', '🐟', '\u0000'],
    hex: '96a0a373 6561a2c3 a9a3e282 aca4f09f 909fa100',
  },
  {
    name: 'text lengths',
    why: 'the steps of a length: 31, 32 and 256 bytes',
    value: ['a'.repeat(31), 'b'.repeat(32), 'c'.repeat(256)],
    hex: `
      93bf6161 61616161 61616161 61616161 61616161 61616161 61616161 61616161
      61d92062 62626262 62626262 62626262 62626262 62626262 62626262 62626262
      626262da 01006363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 63636363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 63636363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 63636363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 63636363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 63636363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 63636363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 63636363 63636363 63636363 63636363 63636363 63636363 63636363
      63636363 6363`,
  },
  { name: 'byte-order mark', why: 'a text keeps it', value: '\ufeffbom', hex: 'a6efbbbf 626f6d' },
  { name: 'bytes', why: 'bin 8', value: Uint8Array.of(0, 1, 255), hex: 'c4030001 ff' },
  {
    name: 'containers',
    why: 'empty ones, and one in the other',
    value: [[], {}, { a: [{ b: null }] }],
    hex: '93908081 a1619181 a162c0',
  },
  {
    name: 'long list',
    why: 'array 16 begins at 16 entries',
    value: Array.from({ length: 16 }, (_, i) => i),
    hex: 'dc001000 01020304 05060708 090a0b0c 0d0e0f',
  },
  {
    name: 'wide map',
    why: 'map 16 begins at 16 entries; more than 12 keys are compared another way',
    value: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`k${i}`, i])),
    hex: `
      de0010a2 6b3000a2 6b3101a2 6b3202a2 6b3303a2 6b3404a2 6b3505a2 6b3606a2
      6b3707a2 6b3808a2 6b3909a3 6b31300a a36b3131 0ba36b31 320ca36b 31330da3
      6b31340e a36b3135 0f`,
  },
  {
    name: 'left out',
    why: 'a member that is undefined is not sent, an entry that is becomes nil',
    value: { a: undefined, b: 1 },
    hex: '81a16201',
  },
  {
    name: 'bool tensor',
    why: 'one byte an element',
    value: Tensor.from('bool', [2], [true, false]),
    hex: `
      84a72474 656e736f 72a4626f 6f6ca573 68617065 9102a370 6164c405 00000000
      00a46461 7461c402 0100`,
  },
  {
    name: 'uint8 tensor',
    why: 'one byte an element',
    value: Tensor.from('uint8', [2], [1, 255]),
    hex: `
      84a72474 656e736f 72a57569 6e7438a5 73686170 659102a3 706164c4 04000000
      00a46461 7461c402 01ff`,
  },
  {
    name: 'int8 tensor',
    why: 'one byte an element',
    value: Tensor.from('int8', [2], [1, -1]),
    hex: `
      84a72474 656e736f 72a4696e 7438a573 68617065 9102a370 6164c405 00000000
      00a46461 7461c402 01ff`,
  },
  {
    name: 'uint16 tensor',
    why: 'little-endian',
    value: Tensor.from('uint16', [2], [1, 65535]),
    hex: `
      84a72474 656e736f 72a67569 6e743136 a5736861 70659102 a3706164 c4030000
      00a46461 7461c404 0100ffff`,
  },
  {
    name: 'int16 tensor',
    why: 'little-endian',
    value: Tensor.from('int16', [2], [1, -2]),
    hex: `
      84a72474 656e736f 72a5696e 743136a5 73686170 659102a3 706164c4 04000000
      00a46461 7461c404 0100feff`,
  },
  {
    name: 'float16 tensor',
    why: 'binary16',
    value: Tensor.from('float16', [2], [1, -0.5]),
    hex: `
      84a72474 656e736f 72a7666c 6f617431 36a57368 61706591 02a37061 64c40200
      00a46461 7461c404 003c00b8`,
  },
  {
    name: 'uint32 tensor',
    why: 'little-endian',
    value: Tensor.from('uint32', [2], [1, 2 ** 32 - 1]),
    hex: `
      84a72474 656e736f 72a67569 6e743332 a5736861 70659102 a3706164 c4030000
      00a46461 7461c408 01000000 ffffffff`,
  },
  {
    name: 'int32 tensor',
    why: 'little-endian',
    value: Tensor.from('int32', [2], [1, -2]),
    hex: `
      84a72474 656e736f 72a5696e 743332a5 73686170 659102a3 706164c4 04000000
      00a46461 7461c408 01000000 feffffff`,
  },
  {
    name: 'float32 tensor',
    why: 'the usual one',
    value: Tensor.from('float32', [2], [1, -0.5]),
    hex: `
      84a72474 656e736f 72a7666c 6f617433 32a57368 61706591 02a37061 64c40200
      00a46461 7461c408 0000803f 000000bf`,
  },
  {
    name: 'uint64 tensor',
    why: 'all 64 bits',
    value: Tensor.from('uint64', [2], [1n, 2n ** 64n - 1n]),
    hex: `
      84a72474 656e736f 72a67569 6e743634 a5736861 70659102 a3706164 c4030000
      00a46461 7461c410 01000000 00000000 ffffffff ffffffff`,
  },
  {
    name: 'int64 tensor',
    why: 'all 64 bits',
    value: Tensor.from('int64', [2], [1n, -(2n ** 63n)]),
    hex: `
      84a72474 656e736f 72a5696e 743634a5 73686170 659102a3 706164c4 04000000
      00a46461 7461c410 01000000 00000000 00000000 00000080`,
  },
  {
    name: 'float64 tensor',
    why: 'binary64',
    value: Tensor.from('float64', [2], [1, -0.5]),
    hex: `
      84a72474 656e736f 72a7666c 6f617436 34a57368 61706591 02a37061 64c40200
      00a46461 7461c410 00000000 0000f03f 00000000 0000e0bf`,
  },
  {
    name: 'string tensor',
    why: 'each with its length',
    value: Tensor.from('string', [2], ['sea', 'é']),
    hex: `
      84a72474 656e736f 72a67374 72696e67 a5736861 70659102 a3706164 c4030000
      00a46461 7461c40d 03000000 73656102 000000c3 a9`,
  },
  {
    name: 'scalar tensor',
    why: 'an empty shape is one element',
    value: Tensor.from('float32', [], [3]),
    hex: `
      84a72474 656e736f 72a7666c 6f617433 32a57368 61706590 a3706164 c4030000
      00a46461 7461c404 00004040`,
  },
  {
    name: 'empty tensor',
    why: 'a dimension of 0 is none',
    value: Tensor.from('float32', [0, 3], []),
    hex: `
      84a72474 656e736f 72a7666c 6f617433 32a57368 61706592 0003a370 6164c401
      00a46461 7461c400`,
  },
  {
    name: 'tensors among values',
    why: 'pad brings the data of each to a multiple of 8, wherever it stands',
    value: { model: 'sum', x: Tensor.from('float32', [1, 2], [1, 2]), ys: [Tensor.from('uint8', [3], [1, 2, 3])] },
    hex: `
      83a56d6f 64656ca3 73756da1 7884a724 74656e73 6f72a766 6c6f6174 3332a573
      68617065 920102a3 706164c4 04000000 00a46461 7461c408 0000803f 00000040
      a2797391 84a72474 656e736f 72a57569 6e7438a5 73686170 659103a3 706164c4
      00a46461 7461c403 010203`,
  },
  {
    name: 'tensor of 256 bytes',
    why: 'bin 16 begins at 256 bytes',
    value: new Tensor('uint8', [256], Uint8Array.from({ length: 256 }, (_, i) => i)),
    hex: `
      84a72474 656e736f 72a57569 6e7438a5 73686170 6591cd01 00a37061 64c40100
      a4646174 61c50100 00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617
      18191a1b 1c1d1e1f 20212223 24252627 28292a2b 2c2d2e2f 30313233 34353637
      38393a3b 3c3d3e3f 40414243 44454647 48494a4b 4c4d4e4f 50515253 54555657
      58595a5b 5c5d5e5f 60616263 64656667 68696a6b 6c6d6e6f 70717273 74757677
      78797a7b 7c7d7e7f 80818283 84858687 88898a8b 8c8d8e8f 90919293 94959697
      98999a9b 9c9d9e9f a0a1a2a3 a4a5a6a7 a8a9aaab acadaeaf b0b1b2b3 b4b5b6b7
      b8b9babb bcbdbebf c0c1c2c3 c4c5c6c7 c8c9cacb cccdcecf d0d1d2d3 d4d5d6d7
      d8d9dadb dcdddedf e0e1e2e3 e4e5e6e7 e8e9eaeb ecedeeef f0f1f2f3 f4f5f6f7
      f8f9fafb fcfdfeff`,
  },
]
