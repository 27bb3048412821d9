import { describe, expect, it } from 'vitest'
import { isCrash, reasonOf, wasNotUnwound, wereInputsRefused } from '../../../shared/engine/ort_error.ts'

/** As onnxruntime-web 1.30 words them. */
const thrownBy = (message: string, code = 1) =>
  new Error(`failed to call OrtRun(). ERROR_CODE: ${code}, ERROR_MESSAGE: ${message}`)

describe('what ONNX Runtime throws', () => {
  it('is told in one line, without the place in its source', () => {
    const place = '/build/_work/1/s/onnxruntime/core/graph/model_load_utils.h:56 void onnxruntime::ValidateOpset' +
      '(const std::unordered_map<std::string, int> &, void (*)(int), bool) '
    expect(reasonOf(thrownBy(`${place}Opset 99 is\n under development (unofficial)\n`)))
      .toBe('Opset 99 is under development (unofficial)')
    expect(reasonOf(thrownBy('Got invalid dimensions for input: x\n index: 1 Got: 3 Expected: 2')))
      .toBe('Got invalid dimensions for input: x index: 1 Got: 3 Expected: 2')
  })

  it('has a reason even where it gives none', () => {
    expect(reasonOf(new Error(''))).toBe('no reason given')
    expect(reasonOf(thrownBy(''))).toBe('no reason given')
    expect(reasonOf('a text')).toBe('a text')
  })

  it('is cut where it is endless', () => {
    expect(reasonOf(thrownBy('x'.repeat(10_000)))).toHaveLength(400)
  })

  it('blames the inputs by its error code', () => {
    expect(wereInputsRefused(thrownBy('indices element out of data bounds', 2))).toBe(true)
    expect(wereInputsRefused(thrownBy('std::bad_alloc', 6))).toBe(false)
    expect(wereInputsRefused(thrownBy('ERROR_CODE 2', 22))).toBe(false)
  })

  it('blames them by its words where it has no code, as onnxruntime-node', () => {
    const gather = "Non-zero status code returned while running Gather node. Name:'y' Status Message: "
    expect(wereInputsRefused(new Error(`${gather}indices element out of data bounds, idx=7`))).toBe(true)
    expect(wereInputsRefused(new Error('std::bad_alloc'))).toBe(false)
    expect(wereInputsRefused(thrownBy('indices element out of data bounds', 6))).toBe(false)
  })

  it('tells a returned failure from an exception', () => {
    expect(wasNotUnwound(thrownBy('Non-zero status code returned while running Div node. Name: y'))).toBe(false)
    expect(wasNotUnwound(thrownBy('std::bad_alloc', 6))).toBe(true)
  })

  it('tells a crash from an error', () => {
    const overflow = () => {
      const dive = (): number => 1 + dive()
      return dive()
    }
    expect(isCrash(new WebAssembly.RuntimeError('unreachable'))).toBe(true)
    try {
      overflow()
      expect.unreachable()
    } catch (thrown) {
      expect(isCrash(thrown)).toBe(true)
    }
    expect(isCrash(thrownBy('std::bad_alloc', 6))).toBe(false)
    expect(isCrash(new RangeError('Array buffer allocation failed'))).toBe(false)
  })
})
