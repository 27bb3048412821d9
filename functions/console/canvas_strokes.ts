import type { Point } from './digit_examples.ts'

export interface StrokeHandlers {
  /** The pointer has come down. @returns whether a stroke begins; none does where there is no pen */
  begin(): boolean
  /** The next stretch of it, through all points but the first, where the one before ended: two that are equal make a dot. */
  draw(from: Point, through: readonly Point[]): void
  end(): void
}

/** A stroke of a mouse, a finger or a pen over a canvas, in the canvas's own pixels. One at a time. */
export class CanvasStrokes {
  readonly #canvas: HTMLCanvasElement
  readonly #handlers: StrokeHandlers
  #from: Point | undefined

  constructor(canvas: HTMLCanvasElement, handlers: StrokeHandlers) {
    this.#canvas = canvas
    this.#handlers = handlers
    canvas.addEventListener('pointerdown', (event) => this.#begin(event))
    canvas.addEventListener('pointermove', (event) => this.#move(event))
    canvas.addEventListener('pointerup', () => this.#end())
    canvas.addEventListener('pointercancel', () => this.#end())
  }

  get isDrawing(): boolean {
    return this.#from !== undefined
  }

  #begin(event: PointerEvent): void {
    if (event.button !== 0 || !event.isPrimary) return
    this.#from = this.#at(event)
    if (!this.#handlers.begin()) {
      this.#from = undefined
      return
    }
    event.preventDefault()
    this.#canvas.setPointerCapture(event.pointerId)
    this.#move(event)
  }

  #move(event: PointerEvent): void {
    if (!this.#from || !event.isPrimary) return
    // A quick hand moves further between two frames than a smooth line may. Only secure contexts tell of it.
    const moves = event.getCoalescedEvents?.() ?? []
    const through = (moves.length > 0 ? moves : [event]).map((move) => this.#at(move))
    this.#handlers.draw(this.#from, through)
    this.#from = through.at(-1)
  }

  #end(): void {
    if (!this.#from) return
    this.#from = undefined
    this.#handlers.end()
  }

  /** Where the pointer is. The picture stands in the middle of its box, as large as it fits (`object-fit: contain`). */
  #at(event: PointerEvent): Point {
    const { left, top, width: boxWidth, height: boxHeight } = this.#canvas.getBoundingClientRect()
    const { width, height } = this.#canvas
    const scale = Math.min(boxWidth / width, boxHeight / height)
    return [
      (event.clientX - left - boxWidth / 2) / scale + width / 2,
      (event.clientY - top - boxHeight / 2) / scale + height / 2,
    ]
  }
}

/** Draws straight lines in the context's own style. */
export function line(context: CanvasRenderingContext2D, from: Point, through: readonly Point[]): void {
  context.beginPath()
  context.moveTo(...from)
  for (const point of through) context.lineTo(...point)
  context.stroke()
}

/** @throws Error where the browser has none */
export function context2d(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext('2d', { willReadFrequently: true })
  if (!context) throw new Error('Cannot start the page: the browser must offer a 2D canvas')
  return context
}
