import { describe, it } from 'vitest'
import { checkInputs, type GivenInput } from '../../../shared/models/check_inputs.ts'
import { readSignature } from '../../../shared/models/signature.ts'
import type { Signature } from '../../../shared/wire/signature.ts'
import { identityModel, modelOf, pairModel, transposeModel } from '../../fixtures/models.ts'
import { tensorInfo } from '../../../shared/models/onnx.ts'
import { assertRefused } from './refusal.ts'

const signatureOf = (model: Uint8Array): Signature => readSignature(model).signature
const float = (name: string, ...shape: number[]): GivenInput => ({ name, dtype: 'float32', shape })

const x784 = signatureOf(identityModel('float32', ['N', 784]))
const pair = signatureOf(pairModel())
const transpose = signatureOf(transposeModel())
const none = signatureOf(modelOf({ output: [tensorInfo('y', 'float32', [1])] }))

describe('checkInputs', () => {
  it('lets right inputs pass, in any order and any size of a free axis', () => {
    checkInputs('m', x784, [float('x', 1, 784)])
    checkInputs('m', x784, [float('x', 100, 784)])
    checkInputs('m', pair, [float('b', 3, 2), float('a', 3, 2)])
    checkInputs('m', transpose, new Set([float('x', 2, 5)]))
    checkInputs('m', none, [])
  })

  it('says which input has the wrong shape, and which it must have', () => {
    const message = /^Cannot run "m": input "x" must have shape \[-1, 784\], got \[784\]$/
    assertRefused(() => checkInputs('m', x784, [float('x', 784)]), message)
    assertRefused(() => checkInputs('m', x784, [float('x', 2, 783)]), /must have shape \[-1, 784\], got \[2, 783\]/)
    assertRefused(() => checkInputs('m', x784, [float('x', 2, 784, 1)]), /got \[2, 784, 1\]/)
    assertRefused(() => checkInputs('m', x784, [float('x')]), /got \[\]/)
  })

  it('says which input has the wrong dtype', () => {
    const bytes: GivenInput = { name: 'x', dtype: 'uint8', shape: [1, 784] }
    assertRefused(
      () => checkInputs('m', x784, [bytes]),
      /^Cannot run "m": input "x" must have dtype float32, got uint8$/,
    )
  })

  it('lists the inputs when one is unknown, missing or given twice', () => {
    assertRefused(() => checkInputs('m', x784, [float('y', 1, 784)]), /^Cannot run "m": inputs must be "x", got "y"$/)
    assertRefused(
      () => checkInputs('m', pair, [float('a', 1, 2)]),
      /^Cannot run "m": inputs must be "a", "b", got "a"$/,
    )
    assertRefused(() => checkInputs('m', pair, []), /inputs must be "a", "b", got none$/)
    assertRefused(() => checkInputs('m', none, [float('x', 1)]), /inputs must be none, got "x"$/)
    const twice = [float('a', 1, 2), float('a', 1, 2), float('b', 1, 2)]
    assertRefused(() => checkInputs('m', pair, twice), /input "a" must be given once, got it twice/)
  })

  it('holds axes of one name to one size', () => {
    assertRefused(
      () => checkInputs('m', pair, [float('a', 3, 2), float('b', 5, 2)]),
      /^Cannot run "m": axis 0 of input "b" \("N"\) must be 3 as in input "a", got 5$/,
    )
    const square = signatureOf(identityModel('float32', ['N', 'N']))
    checkInputs('m', square, [float('x', 4, 4)])
    assertRefused(() => checkInputs('m', square, [float('x', 4, 5)]), /axis 1 of input "x" \("N"\) must be 4/)
  })
})
