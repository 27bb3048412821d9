import { CanvasStrokes, context2d, line } from './canvas_strokes.ts'
import type { Point, Stroke } from './digit_examples.ts'

/** A pen's width, as a share of the sheet: scaled to MNIST's box, a digit that fills most of the sheet looks like theirs. */
const PEN = 1 / 12

/** A square black sheet and a white pen. */
export class DigitPad {
  readonly #canvas: HTMLCanvasElement
  readonly #context: CanvasRenderingContext2D
  readonly #onChange: () => void
  readonly #strokes: CanvasStrokes
  /** What is there was not drawn by the visitor. */
  #isExample = false

  /** @param onChange called when a stroke begins or ends, and after each example */
  constructor(canvas: HTMLCanvasElement, onChange: () => void) {
    const context = context2d(canvas)
    context.strokeStyle = 'white'
    context.lineWidth = canvas.width * PEN
    context.lineCap = context.lineJoin = 'round'
    this.#canvas = canvas
    this.#context = context
    this.#onChange = onChange
    this.#strokes = new CanvasStrokes(canvas, {
      begin: () => {
        if (this.#isExample) this.clear()
        onChange()
        return true
      },
      draw: (from, through) => line(context, from, through),
      end: onChange,
    })
    this.clear()
  }

  get isDrawing(): boolean {
    return this.#strokes.isDrawing
  }

  clear(): void {
    this.#isExample = false
    this.#context.fillStyle = 'black'
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height)
  }

  showExample(strokes: readonly Stroke[]): void {
    this.clear()
    this.#isExample = true
    for (const stroke of strokes) this.#curve(stroke)
    this.#onChange()
  }

  /** 0 (paper) to 1, row by row. */
  read(): { ink: Float32Array; width: number } {
    const { width, height } = this.#canvas
    const { data } = this.#context.getImageData(0, 0, width, height)
    return { ink: Float32Array.from({ length: width * height }, (_, i) => (data[4 * i] ?? 0) / 255), width }
  }

  #curve(stroke: Stroke): void {
    const points = stroke.map(([x, y]): Point => [x / 100 * this.#canvas.width, y / 100 * this.#canvas.height])
    const [first, last] = [points[0], points.at(-1)]
    if (!first || !last) return
    this.#context.beginPath()
    this.#context.moveTo(...first)
    for (const [i, [x, y]] of points.entries()) {
      const [nextX, nextY] = points[i + 1] ?? [x, y]
      this.#context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2)
    }
    this.#context.lineTo(...last)
    this.#context.stroke()
  }
}
