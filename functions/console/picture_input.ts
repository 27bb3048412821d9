import { invalid } from '../../shared/wire/errors.ts'
import type { Picture } from '../demo/picture.ts'
import { CanvasStrokes, context2d, line } from './canvas_strokes.ts'

/** Longest side sent to a model that takes any size: 384 × 384 pixels are 1.7 MiB as float32. */
const MAX_SIDE = 384
/** Side of an empty sheet. */
const SHEET_SIDE = 256
/** A pen's width, as a share of the picture's. */
const PEN = 1 / 40

/** The input picture: a canvas that takes files, dropped pictures and a pen. */
export class PictureInput {
  readonly #canvas: HTMLCanvasElement
  readonly #context: CanvasRenderingContext2D
  /** What the model demands. */
  #size: { width: number | undefined; height: number | undefined } = { width: undefined, height: undefined }
  #pen: string | undefined

  /** @param onChange called when a picture or a stroke is complete */
  constructor(canvas: HTMLCanvasElement, onChange: () => void) {
    const context = context2d(canvas)
    this.#canvas = canvas
    this.#context = context
    new CanvasStrokes(canvas, {
      begin: () => this.#pen !== undefined,
      draw: (from, through) => {
        if (this.#pen === undefined) return
        context.strokeStyle = this.#pen
        context.lineWidth = Math.max(1.5, canvas.width * PEN)
        context.lineCap = context.lineJoin = 'round'
        line(context, from, through)
      },
      end: onChange,
    })
  }

  /** Fits what is there to what a model demands. */
  demand(width: number | undefined, height: number | undefined): void {
    if (this.#size.width === width && this.#size.height === height) return
    this.#size = { width, height }
    const { width: haveWidth, height: haveHeight } = this.#canvas
    if (haveWidth === (width ?? haveWidth) && haveHeight === (height ?? haveHeight)) return
    const copy = new OffscreenCanvas(haveWidth, haveHeight)
    copy.getContext('2d')?.drawImage(this.#canvas, 0, 0)
    this.#place(copy)
  }

  /** @throws RpcError `invalid_argument` if the browser cannot read the file as a picture */
  async load(file: Blob, name: string): Promise<void> {
    const bitmap = await createImageBitmap(file).catch((cause) => {
      throw invalid(`Cannot show ${name}: it must be a picture that this browser can read`, { cause })
    })
    this.#place(bitmap)
    bitmap.close()
  }

  clear(): void {
    this.#resize(this.#size.width ?? SHEET_SIDE, this.#size.height ?? SHEET_SIDE)
    this.#context.fillStyle = 'white'
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height)
  }

  /** Draws in this colour from now on; undefined puts the pen away. */
  set pen(color: string | undefined) {
    this.#pen = color
    this.#canvas.classList.toggle('drawable', color !== undefined)
  }

  read(): Picture {
    const { width, height } = this.#canvas
    const { data } = this.#context.getImageData(0, 0, width, height)
    return { width, height, rgba: data }
  }

  /** Scales a picture down to fit, or crops it to the size that the model demands. Transparent parts become white. */
  #place(source: ImageBitmap | OffscreenCanvas): void {
    const shrink = Math.min(1, MAX_SIDE / Math.max(source.width, source.height))
    const width = this.#size.width ?? Math.max(1, Math.round(source.width * shrink))
    const height = this.#size.height ?? Math.max(1, Math.round(source.height * shrink))
    this.#resize(width, height)
    const scale = Math.max(width / source.width, height / source.height)
    const [drawnWidth, drawnHeight] = [source.width * scale, source.height * scale]
    this.#context.fillStyle = 'white'
    this.#context.fillRect(0, 0, width, height)
    this.#context.imageSmoothingQuality = 'high'
    this.#context.drawImage(source, (width - drawnWidth) / 2, (height - drawnHeight) / 2, drawnWidth, drawnHeight)
  }

  #resize(width: number, height: number): void {
    this.#canvas.width = width
    this.#canvas.height = height
    markSize(this.#canvas)
  }
}

export function showPicture(canvas: HTMLCanvasElement, { width, height, rgba }: Picture): void {
  canvas.width = width
  canvas.height = height
  markSize(canvas)
  canvas.getContext('2d')?.putImageData(new ImageData(rgba, width, height), 0, 0)
}

/** Few pixels are shown as squares: blurred they would look out of focus. */
function markSize(canvas: HTMLCanvasElement): void {
  canvas.classList.toggle('pixels', Math.max(canvas.width, canvas.height) <= 128)
}
