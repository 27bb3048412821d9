import { describe, expect, it } from 'vitest'
import { digitModels, toProbabilities } from '../../../functions/console/digit_model.ts'
import { DIGIT_SIDE, toDigit } from '../../../functions/console/digit_pixels.ts'
import { readDemoModel, readDigitsModel } from '../../../functions/demo/files.ts'
import { readSignature } from '../../../shared/models/signature.ts'
import type { ModelManifest } from '../../../shared/wire/signature.ts'

const SIDE = 280

/** A sheet with rectangles of ink. */
function sheet(...inks: { x: number; y: number; width: number; height: number }[]): Float32Array {
  const ink = new Float32Array(SIDE * SIDE)
  for (const { x, y, width, height } of inks) {
    for (let row = y; row < y + height; row++) ink.fill(1, row * SIDE + x, row * SIDE + x + width)
  }
  return ink
}

/** The picture's mass, its middle, and the rows and columns that hold ink. */
function measured(digit: Float32Array | undefined) {
  let [mass, sumX, sumY] = [0, 0, 0]
  const [rows, columns] = [new Set<number>(), new Set<number>()]
  digit?.forEach((value, i) => {
    const [x, y] = [i % DIGIT_SIDE, Math.floor(i / DIGIT_SIDE)]
    mass += value
    sumX += value * (x + 0.5)
    sumY += value * (y + 0.5)
    if (value < 1e-4) return
    rows.add(y)
    columns.add(x)
  })
  return { mass, x: sumX / mass, y: sumY / mass, rows: rows.size, columns: columns.size }
}

describe('a drawing as MNIST would hold it', () => {
  it('is nothing for an empty sheet', () => expect(toDigit(new Float32Array(SIDE * SIDE), SIDE)).toBeUndefined())

  it('has 20 pixels along its longer side, wherever it was drawn and however large', () => {
    const boxes = [{ x: 3, y: 170, width: 20, height: 100 }, { x: 200, y: 10, width: 40, height: 200 }]
    for (const box of boxes) {
      const digit = toDigit(sheet(box), SIDE)
      const { mass, x, y, rows, columns } = measured(digit)
      expect(mass).toBeCloseTo(20 * 4, 3)
      expect([x, y]).toEqual([expect.closeTo(14, 3), expect.closeTo(14, 3)])
      expect([rows, columns]).toEqual([20, 4])
    }
  })

  it('is the mean of the area that each pixel covers', () => {
    // Every second column is ink: pixels of 10 by 10 are grey all over, but for what their edges cut.
    const stripes = Array.from({ length: 100 }, (_, i) => ({ x: 40 + 2 * i, y: 40, width: 1, height: 200 }))
    const digit = toDigit(sheet(...stripes), SIDE)
    const middle = digit?.[14 * DIGIT_SIDE + 14]
    expect(middle).toBeGreaterThan(0.4)
    expect(middle).toBeLessThan(0.6)
  })

  it('has its centre of mass in the middle, unless that pushed ink over the rim', () => {
    const leaning = toDigit(
      sheet({ x: 40, y: 40, width: 40, height: 200 }, { x: 80, y: 40, width: 100, height: 40 }),
      SIDE,
    )
    expect(measured(leaning)).toMatchObject({ x: expect.closeTo(14, 3), y: expect.closeTo(14, 3) })
    const ends = [{ x: 0, y: 0, width: 60, height: 60 }, { x: 60, y: 0, width: 140, height: 2 }]
    expect(measured(toDigit(sheet(...ends), SIDE))).toMatchObject({ mass: expect.closeTo(36 + 14 * 0.2, 3) })
  })
})

describe('models that read a digit', () => {
  const manifest = async (name: string, model: Promise<Uint8Array>, labels?: string[]): Promise<ModelManifest> => {
    const bytes = await model
    const facts = {
      name,
      version: '1',
      sha256: '0'.repeat(64),
      bytes: bytes.length,
      createdAt: '',
      ...readSignature(bytes),
    }
    return labels ? { ...facts, labels } : facts
  }

  it('are told from others, and their classes by labels or numbers', async () => {
    const words = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
    const models = await Promise.all([
      manifest('cartoon', readDemoModel()),
      manifest('digits', readDigitsModel()),
      manifest('words', readDigitsModel(), words),
      manifest('short', readDigitsModel(), ['only one']),
    ])
    const numbers = [...'0123456789']
    expect(digitModels(models)).toEqual([
      { kind: 'digit', name: 'digits', input: 'x', output: 'logits', labels: numbers },
      { kind: 'digit', name: 'words', input: 'x', output: 'logits', labels: words },
      { kind: 'digit', name: 'short', input: 'x', output: 'logits', labels: numbers },
    ])
  })

  it('give probabilities, or scores that become such', () => {
    expect(toProbabilities([0.25, 0.75])).toEqual([0.25, 0.75])
    expect(toProbabilities([0, Math.log(3)])).toEqual([expect.closeTo(0.25, 9), expect.closeTo(0.75, 9)])
    expect(toProbabilities([1000, 1000])).toEqual([0.5, 0.5])
    expect(toProbabilities([-1, 2]).reduce((sum, value) => sum + value)).toBeCloseTo(1, 9)
  })
})
