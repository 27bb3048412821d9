import { type Bytes, concat } from '../../shared/base/bytes.ts'
import { invalid } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { inflate, pngChunk, readChunks, storedZlib } from './png.ts'

/** A picture as a canvas holds it: `new ImageData(picture.rgba, picture.width)` shows it. */
export interface Picture {
  width: number
  height: number
  /** Four bytes a pixel, row by row from the top left. */
  rgba: Uint8ClampedArray<ArrayBuffer>
}

/**
 * Pictures of one size as the demo model takes them: float32 [N, 3, H, W], RGB from 0 to 1. Alpha is ignored.
 * @throws RpcError `invalid_argument` if there are none, or their sizes differ
 */
export function toTensor(pictures: readonly Picture[]): Tensor<'float32'> {
  const [first] = pictures
  if (!first) throw invalid('Cannot make a tensor: at least one picture is required, got none')
  const { width, height } = first
  const pixels = width * height
  const data = new Float32Array(pictures.length * 3 * pixels)
  pictures.forEach((picture, n) => {
    if (picture.width !== width || picture.height !== height) {
      throw invalid(
        `Cannot make a tensor: pictures must have one size (${width}×${height}), got ${picture.width}×${picture.height}`,
      )
    }
    for (let channel = 0; channel < 3; channel++) {
      const plane = (n * 3 + channel) * pixels
      for (let i = 0; i < pixels; i++) data[plane + i] = (picture.rgba[4 * i + channel] ?? 0) / 255
    }
  })
  return Tensor.from('float32', [pictures.length, 3, height, width], data)
}

/**
 * Picture `index` of a [N, 3, H, W] (colour) or [N, 1, H, W] (grey) tensor of values from 0 to 1, opaque.
 * @throws RpcError `invalid_argument` if the tensor has another dtype or shape
 */
export function toPicture(tensor: Tensor, index = 0): Picture {
  const [count = 0, channels = 0, height = 0, width = 0] = tensor.shape
  const fits = tensor.dtype === 'float32' && tensor.shape.length === 4 && (channels === 1 || channels === 3)
  if (!fits || index >= count) {
    throw invalid(
      `Cannot make picture ${index}: its tensor must be float32 [N, 1 or 3, H, W], got ${tensor.dtype} [${tensor.shape}]`,
    )
  }
  const data = tensor.data as Float32Array
  const pixels = width * height
  const rgba = new Uint8ClampedArray(4 * pixels)
  for (let i = 0; i < pixels; i++) {
    for (let channel = 0; channel < 3; channel++) {
      const plane = index * channels + Math.min(channel, channels - 1)
      rgba[4 * i + channel] = 255 * (data[plane * pixels + i] ?? 0)
    }
    rgba[4 * i + 3] = 255
  }
  return { width, height, rgba }
}

const PNG_SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)

/** A picture as a PNG file: RGBA, not compressed, so that the same picture is the same bytes everywhere. */
export function encodePng({ width, height, rgba }: Picture): Bytes {
  const header = new Uint8Array(13)
  const view = new DataView(header.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  header.set([8, 6], 8) // 8 bits a sample, RGBA
  const rows = new Uint8Array(height * (1 + 4 * width))
  for (let y = 0; y < height; y++) rows.set(rgba.subarray(4 * width * y, 4 * width * (y + 1)), y * (1 + 4 * width) + 1)
  return concat([
    PNG_SIGNATURE,
    pngChunk('IHDR', header),
    pngChunk('IDAT', storedZlib(rows)),
    pngChunk('IEND', new Uint8Array(0)),
  ])
}

/**
 * Reads a PNG without a browser: 8-bit RGB or RGBA, not interlaced. Browsers read more kinds by themselves
 * (`createImageBitmap`, then a canvas).
 * @throws RpcError `invalid_argument` for anything else
 */
export async function decodePng(bytes: Uint8Array): Promise<Picture> {
  if (!PNG_SIGNATURE.every((byte, i) => bytes[i] === byte)) throw invalid('Cannot read the picture: it is not a PNG')
  const chunks = readChunks(bytes.subarray(PNG_SIGNATURE.length))
  const header = chunks.find(({ type }) => type === 'IHDR')?.data
  if (header?.length !== 13) throw invalid('Cannot read the picture: its PNG has no header')
  const view = new DataView(header.buffer, header.byteOffset)
  const [width, height] = [view.getUint32(0), view.getUint32(4)]
  const [depth = 0, colorType = 0, , , interlaced = 0] = header.subarray(8)
  const samples = colorType === 2 ? 3 : colorType === 6 ? 4 : 0
  if (depth !== 8 || samples === 0 || interlaced !== 0) {
    throw invalid('Cannot read the picture: it must be an 8-bit RGB or RGBA PNG that is not interlaced')
  }
  if (width < 1 || height < 1 || width * height > MAX_PIXELS) {
    throw invalid(`Cannot read the picture: it must have 1 to ${MAX_PIXELS} pixels, got ${width}×${height}`)
  }
  const data = concat(chunks.filter(({ type }) => type === 'IDAT').map((chunk) => chunk.data))
  const rows = await inflate(data, height * (1 + samples * width))
  return { width, height, rgba: unfilter(rows, width, height, samples) }
}

/** 16 megapixels: a phone's photograph, 64 MiB as RGBA. */
const MAX_PIXELS = 1 << 24

/** Undoes PNG's per-row prediction. https://www.w3.org/TR/png-3/#9Filters */
function unfilter(rows: Uint8Array, width: number, height: number, samples: number): Uint8ClampedArray<ArrayBuffer> {
  const stride = samples * width
  let above = new Uint8Array(stride)
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255)
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (1 + stride)] ?? 0
    const row = rows.slice(y * (1 + stride) + 1, (y + 1) * (1 + stride))
    for (let i = 0; i < stride; i++) {
      const left = i < samples ? 0 : row[i - samples] ?? 0
      const up = above[i] ?? 0
      const upLeft = i < samples ? 0 : above[i - samples] ?? 0
      row[i] = (row[i] ?? 0) + predict(filter, left, up, upLeft)
      rgba[4 * (y * width + Math.floor(i / samples)) + i % samples] = row[i] ?? 0
    }
    above = row
  }
  return rgba
}

function predict(filter: number, left: number, up: number, upLeft: number): number {
  switch (filter) {
    case 0:
      return 0
    case 1:
      return left
    case 2:
      return up
    case 3:
      return Math.floor((left + up) / 2)
    case 4: {
      const offLeft = Math.abs(up - upLeft)
      const offUp = Math.abs(left - upLeft)
      const offUpLeft = Math.abs(left + up - 2 * upLeft)
      return offLeft <= offUp && offLeft <= offUpLeft ? left : offUp <= offUpLeft ? up : upLeft
    }
    default:
      throw invalid(`Cannot read the picture: a PNG row must have filter 0 to 4, got ${filter}`)
  }
}
