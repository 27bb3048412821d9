import { describe, expect, it } from 'vitest'
import { curveCsv, curveSvg } from '../../../functions/trainer/loss_curve.ts'

const losses = Array.from({ length: 5000 }, (_, i) => 2 / (1 + i))
const evaluations = [{ step: 2, loss: 0.9, accuracy: 0.5 }, { step: 5000, loss: 0.1 }]

describe('loss curve', () => {
  it('has a line per step, with the validation where there was one', () => {
    const lines = curveCsv(losses, evaluations).trimEnd().split('\n')
    expect(lines).toHaveLength(5001)
    expect(lines.slice(0, 4)).toEqual([
      'step,loss,validation_loss,validation_accuracy',
      '1,2,,',
      '2,1,0.9,0.5',
      '3,0.6666666666666666,,',
    ])
    expect(lines.at(-1)).toBe('5000,0.0004,0.1,')
  })

  it('is drawn within its frame, with a bounded number of points', () => {
    const svg = curveSvg(losses, evaluations, 'a <b> & "c"')
    expect(svg).toContain('a &lt;b> &amp; &quot;c&quot;')
    const points = /points="([^"]+)" fill="none" stroke="#1971c2"/.exec(svg)?.[1]?.split(' ') ?? []
    expect(points).toHaveLength(1000)
    for (const point of points) {
      const [x = NaN, y = NaN] = point.split(',').map(Number)
      expect(x >= 48 && x <= 672 && y >= 48 && y <= 352, point).toBe(true)
    }
  })

  it('of nothing, or of what is not finite, is still a picture', () => {
    for (const none of [[], [NaN, Infinity]]) expect(curveSvg(none, [], 'x')).toMatch(/^<svg[^]*<\/svg>\n$/)
  })
})
