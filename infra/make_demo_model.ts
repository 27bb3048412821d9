/**
 * Makes what functions/demo/ holds: the model, its sample picture and the right answer to it. Everything is computed
 * here, with no training and no download; running it again gives the same bytes on any machine.
 *
 *   node infra/make_demo_model.ts
 */
import { writeFile } from 'node:fs/promises'
import type { Bytes } from '../shared/base/bytes.ts'
import { encodeUtf8 } from '../shared/base/bytes.ts'
import { node, tensorInfo, toTensorProto, writeModel } from '../shared/models/onnx.ts'
import { Tensor } from '../shared/wire/tensor.ts'
import { encodePng, type Picture, toTensor } from '../functions/demo/picture.ts'
import { OUTLINE_FROM, OUTLINE_TO, referenceAnswer, SMOOTHING, STEPS } from '../functions/demo/reference.ts'

/** The files, by name. */
export function makeDemo(): Record<string, Bytes> {
  const picture = drawFish(64)
  return {
    'cartoon.onnx': makeModel(),
    'fish.png': encodePng(picture),
    'expected.json': encodeUtf8(`${JSON.stringify(expectedAnswer(picture), undefined, 2)}\n`),
  }
}

/**
 * `image` [N, 3, H, W] → `outlines` [N, 1, H, W], `cartoon` [N, 3, H, W] and `color` [N, 3] (functions/demo/reference.ts).
 * Opset 17, only operators that run on WebGPU. Any size of picture will do; N of one size make a batch.
 */
function makeModel(): Bytes {
  const smoothing = perChannel(5, (dx, dy) => (SMOOTHING[dx + 2] ?? 0) * (SMOOTHING[dy + 2] ?? 0) / 256)
  const slopeX = perChannel(3, (dx, dy) => dx * (2 - Math.abs(dy)) / 4)
  const slopeY = perChannel(3, (dx, dy) => dy * (2 - Math.abs(dx)) / 4)
  const scalars = {
    outlineScale: 1 / (OUTLINE_TO - OUTLINE_FROM),
    outlineShift: -OUTLINE_FROM / (OUTLINE_TO - OUTLINE_FROM),
    zero: 0,
    one: 1,
    two: 2,
    three: 3,
    steps: STEPS,
    stepSize: 1 / STEPS,
  }
  return writeModel({
    irVersion: 8,
    producerName: 'shoal',
    opsetImport: [{ version: 17 }],
    docString:
      'Draws a picture as a cartoon: few colours, black outlines. Also its outlines alone and its mean colour.',
    graph: {
      name: 'cartoon',
      input: [tensorInfo('image', 'float32', ['N', 3, 'H', 'W'])],
      output: [
        tensorInfo('outlines', 'float32', ['N', 1, 'H', 'W']),
        tensorInfo('cartoon', 'float32', ['N', 3, 'H', 'W']),
        tensorInfo('color', 'float32', ['N', 3]),
      ],
      initializer: [
        toTensorProto('smoothing', smoothing),
        toTensorProto('slopeX', slopeX),
        toTensorProto('slopeY', slopeY),
        toTensorProto('mean', Tensor.from('float32', [1, 3, 1, 1], [1 / 3, 1 / 3, 1 / 3])),
        toTensorProto('twoPixels', Tensor.from('int64', [8], [0, 0, 2, 2, 0, 0, 2, 2])),
        toTensorProto('onePixel', Tensor.from('int64', [8], [0, 0, 1, 1, 0, 0, 1, 1])),
        ...Object.entries(scalars).map(([name, value]) => toTensorProto(name, Tensor.from('float32', [], [value]))),
      ],
      node: [
        // Beyond the edge the picture goes on as it is there: zeros would draw a frame around it.
        node('Pad', ['image', 'twoPixels'], ['wide'], { mode: 'edge' }),
        node('Conv', ['wide', 'smoothing'], ['smooth'], CONV(5)),
        node('Pad', ['smooth', 'onePixel'], ['wideSmooth'], { mode: 'edge' }),
        node('Conv', ['wideSmooth', 'slopeX'], ['x'], CONV(3)),
        node('Conv', ['wideSmooth', 'slopeY'], ['y'], CONV(3)),
        node('Mul', ['x', 'x'], ['xSquare']),
        node('Mul', ['y', 'y'], ['ySquare']),
        node('Add', ['xSquare', 'ySquare'], ['squares']),
        node('Conv', ['squares', 'mean'], ['square'], CONV(1)),
        node('Sqrt', ['square'], ['steepness']),
        node('Mul', ['steepness', 'outlineScale'], ['scaled']),
        node('Add', ['scaled', 'outlineShift'], ['shifted']),
        node('Clip', ['shifted', 'zero', 'one'], ['outlines']),

        node('Mul', ['smooth', 'steps'], ['height']),
        node('Floor', ['height'], ['step']),
        node('Sub', ['height', 'step'], ['within']),
        ...roundStep('within', 'rounded'),
        ...roundStep('rounded', 'roundedTwice'),
        node('Add', ['step', 'roundedTwice'], ['staircase']),
        node('Mul', ['staircase', 'stepSize'], ['stepped']),
        node('Sub', ['one', 'outlines'], ['paper']),
        node('Mul', ['stepped', 'paper'], ['cartoon']),

        node('GlobalAveragePool', ['image'], ['meanColor']),
        node('Flatten', ['meanColor'], ['color'], { axis: 1 }),
      ],
    },
  })
}

/** A convolution that treats each channel alone. Written without groups: some GPU kernels get those wrong. */
function perChannel(size: number, weight: (dx: number, dy: number) => number): Tensor<'float32'> {
  const offsets = Array.from({ length: size }, (_, i) => i - (size - 1) / 2)
  const kernel = offsets.flatMap((dy) => offsets.map((dx) => weight(dx, dy)))
  const channels = [0, 1, 2]
  const weights = channels.flatMap((to) => channels.flatMap((from) => kernel.map((value) => to === from ? value : 0)))
  return Tensor.from('float32', [3, 3, size, size], weights)
}

const CONV = (size: number) => ({
  kernel_shape: [size, size],
  strides: [1, 1],
  dilations: [1, 1],
  pads: [0, 0, 0, 0],
  group: 1,
})

/** t² (3 − 2t) */
function roundStep(from: string, to: string) {
  return [
    node('Mul', [from, from], [`${to}Square`]),
    node('Mul', [from, 'two'], [`${to}Double`]),
    node('Sub', ['three', `${to}Double`], [`${to}Rest`]),
    node('Mul', [`${to}Square`, `${to}Rest`], [to]),
  ]
}

type Color = readonly [red: number, green: number, blue: number]

/** Two fish over sand. Only + − × ÷ and comparisons: those are the same to the last bit in every runtime. */
function drawFish(size: number): Picture {
  const rgba = new Uint8ClampedArray(4 * size * size)
  const samples = 4
  for (let i = 0; i < size * size; i++) {
    const sum = [0, 0, 0]
    for (let s = 0; s < samples * samples; s++) {
      const x = (i % size + (s % samples + 0.5) / samples) / size
      const y = (Math.floor(i / size) + (Math.floor(s / samples) + 0.5) / samples) / size
      colorAt(x, y).forEach((value, channel) => sum[channel] = (sum[channel] ?? 0) + value)
    }
    rgba.set([...sum.map((value) => value / (samples * samples)), 255], 4 * i)
  }
  return { width: size, height: size, rgba }
}

/** @param x from 0 at the left to 1  @param y from 0 at the top to 1 */
function colorAt(x: number, y: number): Color {
  const big = fishAt((x - 0.42) / 0.3, (y - 0.4) / 0.3, [242, 125, 38], [255, 214, 90])
  const small = fishAt((x - 0.75) / 0.13, (y - 0.72) / 0.13, [200, 50, 80], [250, 160, 170])
  const ground = 0.86 + 0.12 * (x - 0.3) * (x - 0.3)
  const sand: Color | undefined = y > ground ? [226, 200, 140] : undefined
  return big ?? small ?? sand ?? [30 + 60 * (1 - y), 110 + 80 * (1 - y), 190 + 50 * (1 - y)]
}

/** A fish that looks left, its body from −1 to 1. @returns undefined beside it */
function fishAt(x: number, y: number, skin: Color, stripe: Color): Color | undefined {
  const eye = (x + 0.55) * (x + 0.55) + (y + 0.12) * (y + 0.12)
  if (eye < 0.012) return [20, 20, 30]
  if (eye < 0.045) return [250, 250, 250]
  const inBody = x * x + y * y / 0.36 < 1
  const inTail = x > 0.75 && x < 1.45 && Math.abs(y) < 0.75 * (x - 0.75) + 0.08
  const inFin = y < -0.3 && y > -0.85 && x > -0.35 && x < 0.55 + 0.6 * (y + 0.3)
  if (inBody && Math.abs(x - 0.05) < 0.14) return stripe
  if (inBody) return skin
  return inTail || inFin ? stripe : undefined
}

/** The answer in figures that a person can compare: the mean colour, and a pixel in the fish, the water and its outline. */
function expectedAnswer(picture: Picture) {
  const images = toTensor([picture])
  const { outlines, cartoon, color } = referenceAnswer(images)
  const pixels = picture.width * picture.height
  const round = (value: number | undefined) => Number((value ?? NaN).toFixed(4))
  const probe = (x: number, y: number) => {
    const at = y * picture.width + x
    return {
      x,
      y,
      outlines: round(outlines.data[at]),
      cartoon: [0, 1, 2].map((channel) => round(cartoon.data[channel * pixels + at])),
    }
  }
  return {
    picture: 'fish.png',
    input: { name: 'image', dtype: 'float32', shape: images.shape },
    color: [...color.data].map(round),
    probes: [probe(20, 32), probe(5, 5), probe(8, 24)],
  }
}

if (import.meta.main) {
  for (const [name, bytes] of Object.entries(makeDemo())) {
    await writeFile(new URL(`../functions/demo/${name}`, import.meta.url), bytes)
    console.log(`functions/demo/${name}  ${bytes.length} bytes`)
  }
}
