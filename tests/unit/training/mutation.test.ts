import { beforeAll, describe, expect, it } from 'vitest'
import { type GradientRule, GRADIENTS } from '../../../shared/training/gradients.ts'
import { type Lowering, LOWERINGS } from '../../../shared/training/lower.ts'
import type { GradientCase } from './gradient_case.ts'
import { CASES } from './gradient_cases.ts'
import { differences, type Reference, referenceOf, type Rules } from './gradient_check.ts'

/** A rule with an error, and the cases that go through it. */
interface Mutant {
  readonly title: string
  readonly rules: Rules
  readonly cases: readonly GradientCase[]
}

/**
 * The maximum is held constant in softmax-like operators, whose gradient is the same without: there is no wrong to be
 * found. What it does is checked in differentiate.test.ts.
 */
const EQUIVALENT = new Set(['StopGradient'])

const references = new Map<GradientCase, Reference>()
const usedRules = new Map<string, Set<GradientCase>>()
const usedLowerings = new Map<string, Set<GradientCase>>()
const note = (used: Map<string, Set<GradientCase>>, key: string, one: GradientCase) =>
  used.set(key, (used.get(key) ?? new Set()).add(one))

beforeAll(async () => {
  for (const one of CASES) {
    const reference = await referenceOf(one)
    references.set(one, reference)
    await differences(one, reference, {
      gradients: mapRules(GRADIENTS, (name, rule) => (b, n, dy, dys) => {
        const gradients = rule(b, n, dy, dys)
        const inputs = gradients.length === 0 ? n.inputs : gradients
        for (const [i, gradient] of inputs.entries()) if (gradient !== undefined) note(usedRules, `${name} ${i}`, one)
        return gradients
      }),
      lowerings: mapRules(LOWERINGS, (name, lowering) => (b, n) => {
        note(usedLowerings, name, one)
        return lowering(b, n)
      }),
    })
  }
})

function mapRules<R>(rules: Readonly<Record<string, R>>, change: (name: string, rule: R) => R): Record<string, R> {
  return Object.fromEntries(Object.entries(rules).map(([name, rule]) => [name, change(name, rule)]))
}

/** The gradient of one input is a tenth too large; where a rule passes nothing, it passes everything. */
function spoilGradient(rule: GradientRule, input: number): GradientRule {
  return (b, n, dy, dys) => {
    const gradients = rule(b, n, dy, dys)
    if (gradients.length === 0) return n.inputs.map((_, i) => i === input ? dy : undefined)
    return gradients.map((gradient, i) => i === input && gradient !== undefined ? b.mul(gradient, 1.1) : gradient)
  }
}

/** The results are a tenth too large, or, if they are conditions, the opposite. */
function spoilLowering(lowering: Lowering): Lowering {
  return (b, n) =>
    [lowering(b, n)].flat().map((name) => {
      if (b.isFloat(name)) return b.mul(name, 1.1)
      return b.dtype(name) === 'bool' ? b.unary('Not', name) : b.add(name, 1)
    })
}

/** The first case that tells the mutant from the truth. */
async function caught({ rules, cases }: Mutant): Promise<string | undefined> {
  for (const one of cases) {
    const reference = references.get(one)
    const errors = reference ? Object.values(await differences(one, reference, rules)) : []
    if (errors.some((error) => error > one.tolerance)) return one.title
  }
  return undefined
}

describe('a rule that is wrong by a tenth is caught', () => {
  it('in every gradient that a rule gives', async () => {
    const mutants = [...usedRules].map(([key, cases]): Mutant => {
      const [name = '', input = ''] = key.split(' ')
      const rule = GRADIENTS[name as keyof typeof GRADIENTS]
      return {
        title: key,
        rules: { gradients: { ...GRADIENTS, [name]: spoilGradient(rule, Number(input)) } },
        cases: [...cases],
      }
    }).filter(({ title }) => !EQUIVALENT.has(title.split(' ')[0] ?? ''))
    const missed = []
    for (const mutant of mutants) if (!await caught(mutant)) missed.push(mutant.title)
    expect(missed).toEqual([])
    const rules = new Set(mutants.map(({ title }) => title.split(' ')[0]))
    expect(Object.keys(GRADIENTS).filter((name) => !rules.has(name) && !EQUIVALENT.has(name))).toEqual([])
  })

  it('in every translation of an operator', async () => {
    const mutants = [...usedLowerings].map(([name, cases]): Mutant => {
      const lowering = LOWERINGS[name as keyof typeof LOWERINGS]
      return { title: name, rules: { lowerings: { ...LOWERINGS, [name]: spoilLowering(lowering) } }, cases: [...cases] }
    })
    const missed = []
    for (const mutant of mutants) if (!await caught(mutant)) missed.push(mutant.title)
    expect(missed).toEqual([])
    expect(Object.keys(LOWERINGS).filter((name) => !usedLowerings.has(name))).toEqual([])
  })
})
