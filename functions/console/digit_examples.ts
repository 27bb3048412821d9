export type Point = readonly [x: number, y: number]
export type Stroke = readonly Point[]

/**
 * A digit for whoever cannot draw, as a pen would: its strokes' points, in percent of the sheet. A stroke bends at its
 * points, and has a corner where a point stands twice.
 */
export const EXAMPLES: readonly { digit: number; strokes: readonly Stroke[] }[] = [
  { digit: 7, strokes: [[[22, 14], [76, 14], [76, 14], [56, 50], [42, 90]]] },
  { digit: 2, strokes: [[[25, 30], [35, 10], [62, 8], [74, 28], [60, 55], [22, 88], [22, 88], [80, 86]]] },
  { digit: 1, strokes: [[[56, 10], [50, 50], [46, 90]]] },
  {
    digit: 0,
    strokes: [[[50, 10], [28, 14], [18, 50], [28, 86], [52, 92], [74, 84], [82, 48], [72, 14], [48, 10]]],
  },
  { digit: 4, strokes: [[[36, 10], [24, 52], [24, 52], [78, 50]], [[66, 12], [60, 90]]] },
  {
    digit: 9,
    strokes: [[[72, 28], [56, 8], [30, 16], [28, 44], [54, 52], [72, 28], [72, 28], [68, 60], [58, 92]]],
  },
  {
    digit: 5,
    strokes: [[[74, 12], [34, 12], [34, 12], [30, 44], [30, 44], [60, 36], [80, 58], [70, 88], [44, 94], [22, 82]]],
  },
  {
    digit: 6,
    strokes: [[[64, 8], [36, 36], [22, 70], [38, 94], [68, 90], [76, 64], [54, 48], [28, 66]]],
  },
  {
    digit: 3,
    strokes: [[[24, 18], [50, 4], [76, 20], [66, 44], [44, 48], [44, 48], [74, 52], [82, 78], [52, 96], [22, 82]]],
  },
  {
    digit: 8,
    strokes: [[
      [70, 20],
      [50, 4],
      [26, 18],
      [36, 42],
      [66, 58],
      [76, 80],
      [50, 96],
      [24, 80],
      [34, 58],
      [64, 42],
      [72, 20],
    ]],
  },
]
