import { assert } from 'chai'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'vitest'
import { readSamplePicture } from '../../../functions/demo/files.ts'
import { decodePng, encodePng, type Picture, toPicture, toTensor } from '../../../functions/demo/picture.ts'
import { pngChunk, storedZlib } from '../../../functions/demo/png.ts'
import { errorOf, referenceAnswer, TOLERANCE } from '../../../functions/demo/reference.ts'
import { makeDemo } from '../../../infra/make_demo_model.ts'
import { concat, encodeUtf8 } from '../../../shared/base/bytes.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { assertRefused, assertRejects } from './refusal.ts'

const folder = new URL('../../../functions/demo/', import.meta.url)

function randomPicture(width: number, height: number): Picture {
  const random = seededRandom(5)
  const rgba = Uint8ClampedArray.from({ length: 4 * width * height }, () => Math.floor(256 * random()))
  return { width, height, rgba }
}

describe('the demo', () => {
  it('is made again to the same bytes', async () => {
    for (const [name, bytes] of Object.entries(makeDemo())) {
      assert.isBelow(bytes.length, 100_000)
      assert.deepEqual(new Uint8Array(await readFile(new URL(name, folder))), bytes, name)
    }
  })

  it('shows outlines where the picture has edges, and its colours elsewhere', async () => {
    const picture = await readSamplePicture()
    const { outlines, cartoon, color } = referenceAnswer(toTensor([picture]))
    const line = toPicture(outlines)
    const drawn = toPicture(cartoon)
    const at = (
      of: Picture,
      x: number,
      y: number,
    ) => [...of.rgba.subarray(4 * (y * of.width + x), 4 * (y * of.width + x) + 3)]
    assert.deepEqual(at(line, 5, 5), [0, 0, 0], 'water')
    assert.deepEqual(at(line, 20, 32), [0, 0, 0], 'skin')
    assert.isAbove(at(line, 8, 24)[0] ?? 0, 180, 'the fish’s edge')
    assert.isBelow(Math.max(...at(drawn, 8, 24)), 60, 'drawn dark')
    const [red = 0, , blue = 0] = at(drawn, 20, 32)
    assert.isAbove(red - blue, 150, 'the fish is orange')
    for (const [channel, mean] of color.data.entries()) {
      let sum = 0
      for (let i = channel; i < picture.rgba.length; i += 4) sum += picture.rgba[i] ?? 0
      assert.closeTo(mean, sum / 255 / (64 * 64), 1e-6)
    }
  })

  it('does not accept a wrong answer', async () => {
    const images = toTensor([await readSamplePicture()])
    const right = referenceAnswer(images)
    assert.equal(errorOf({ ...right }, images), 0)
    const spoiled = (change: (data: Float32Array) => void) => {
      const data = right.cartoon.data.slice()
      change(data)
      return errorOf({ ...right, cartoon: Tensor.from('float32', right.cartoon.shape, data) }, images)
    }
    assert.isAbove(spoiled((data) => data[777] = (data[777] ?? 0) + 2 * TOLERANCE), TOLERANCE)
    assert.isNaN(spoiled((data) => data[777] = NaN))
    const { color: _, ...missing } = right
    assert.equal(errorOf(missing, images), Infinity)
    assert.equal(errorOf({ ...right, color: Tensor.from('float32', [1], [0]) }, images), Infinity)
  })
})

describe('pictures', () => {
  it('become tensors of RGB planes from 0 to 1, and pictures again', () => {
    const red: Picture = { width: 2, height: 1, rgba: Uint8ClampedArray.of(255, 0, 51, 255, 0, 255, 102, 255) }
    const tensor = toTensor([red, red])
    assert.deepEqual(tensor.shape, [2, 3, 1, 2])
    assert.deepEqual([...tensor.data.subarray(6)], [1, 0, 0, 1, 51 / 255, 102 / 255].map(Math.fround))
    assert.deepEqual(toPicture(tensor, 1), red)

    const picture = randomPicture(7, 5)
    const opaque = picture.rgba.map((value, i) => i % 4 === 3 ? 255 : value)
    assert.deepEqual(toPicture(toTensor([picture])).rgba, opaque)

    const grey = Tensor.from('float32', [1, 1, 1, 2], [0.2, 1])
    assert.deepEqual([...toPicture(grey).rgba], [51, 51, 51, 255, 255, 255, 255, 255])
  })

  it('must be of one size, and tensors of the right shape', () => {
    assertRefused(() => toTensor([]), /at least one picture/)
    assertRefused(() => toTensor([randomPicture(2, 2), randomPicture(2, 3)]), /one size \(2×2\), got 2×3/)
    assertRefused(() => toPicture(Tensor.from('float32', [1, 2, 1, 1], [0, 0])), /must be float32 \[N, 1 or 3, H, W\]/)
    assertRefused(() => toPicture(Tensor.from('float32', [1, 1, 1, 1], [0]), 1), /picture 1/)
    assertRefused(() => toPicture(Tensor.from('uint8', [1, 1, 1, 1], [0])), /got uint8/)
  })
})

describe('PNG', () => {
  it('keeps a picture, also one of several stored blocks', async () => {
    for (const picture of [randomPicture(3, 2), randomPicture(200, 130)]) {
      assert.deepEqual(await decodePng(encodePng(picture)), picture)
    }
  })

  it('is read with every row filter, compressed and in several pieces', async () => {
    const picture = randomPicture(6, 10)
    for (const samples of [3, 4]) {
      const pixels = Array.from({ length: 10 }, (_, y) =>
        Array.from({ length: 6 * samples }, (_, i) => {
          const [x, channel] = [Math.floor(i / samples), i % samples]
          return picture.rgba[4 * (y * 6 + x) + channel] ?? 0
        }))
      // The specification's filters, from the encoder's side: a byte minus what its neighbours predict.
      const rows = pixels.flatMap((row, y) => {
        const filter = y % 5
        const filtered = row.map((value, i) => {
          const [a, b, c] = [row[i - samples] ?? 0, pixels[y - 1]?.[i] ?? 0, pixels[y - 1]?.[i - samples] ?? 0]
          const p = a + b - c
          const nearest = [a, b, c].reduce((best, each) => Math.abs(p - each) < Math.abs(p - best) ? each : best)
          return value - ([0, a, b, (a + b) >> 1, nearest][filter] ?? 0)
        })
        return [filter, ...filtered]
      })
      const zlib = new Uint8Array(
        await new Response(new Blob([Uint8Array.from(rows)]).stream().pipeThrough(new CompressionStream('deflate')))
          .arrayBuffer(),
      )
      const read = await decodePng(concat([
        encodePng(picture).subarray(0, 8),
        pngChunk('IHDR', Uint8Array.of(0, 0, 0, 6, 0, 0, 0, 10, 8, samples === 3 ? 2 : 6, 0, 0, 0)),
        pngChunk('tEXt', encodeUtf8('Title\0random')),
        pngChunk('IDAT', zlib.subarray(0, 20)),
        pngChunk('IDAT', zlib.subarray(20)),
        pngChunk('IEND', new Uint8Array(0)),
      ]))
      const expected = samples === 4 ? picture.rgba : picture.rgba.map((value, i) => i % 4 === 3 ? 255 : value)
      assert.deepEqual(read.rgba, expected)
    }
  })

  it('that is damaged, cut, of another kind or a bomb is refused', async () => {
    const good = encodePng(randomPicture(4, 4))
    await assertRejects(decodePng(encodeUtf8('GIF89a')), /it is not a PNG/)
    for (let end = 8; end < good.length; end++) {
      await assertRejects(decodePng(good.subarray(0, end)), /^Cannot read the picture/)
    }
    const damaged = good.slice()
    damaged[50] = (damaged[50] ?? 0) ^ 1
    await assertRejects(decodePng(damaged), /damaged/)

    const file = (header: number[], rows: Uint8Array) =>
      concat([
        good.subarray(0, 8),
        pngChunk('IHDR', Uint8Array.from(header)),
        pngChunk('IDAT', storedZlib(rows)),
        pngChunk('IEND', new Uint8Array(0)),
      ])
    await assertRejects(
      decodePng(file([0, 0, 0, 1, 0, 0, 0, 1, 16, 2, 0, 0, 0], new Uint8Array(7))),
      /must be an 8-bit/,
    )
    await assertRejects(decodePng(file([0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0], new Uint8Array(2))), /must be an 8-bit/)
    await assertRejects(decodePng(file([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 1], new Uint8Array(4))), /not interlaced/)
    await assertRejects(
      decodePng(file([0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0], new Uint8Array(4))),
      /must have 1 to 16777216 pixels/,
    )
    await assertRejects(
      decodePng(file([0, 0, 0, 0, 255, 0, 0, 0, 8, 2, 0, 0, 0], new Uint8Array(4))),
      /got 0×4278190080/,
    )
    await assertRejects(
      decodePng(file([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0], new Uint8Array(5))),
      /must hold 4 bytes/,
    )
    await assertRejects(
      decodePng(file([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0], Uint8Array.of(9, 0, 0, 0))),
      /filter 0 to 4/,
    )
  })
})
