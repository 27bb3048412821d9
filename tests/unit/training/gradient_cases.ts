import { node } from '../../../shared/models/onnx.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { bools, distinct, type GradientCase, graph, ints, op, random } from './gradient_case.ts'

const positive = { low: 0.3, high: 2 }
const f32 = { dtype: 'float32' as const }
/** For operators that are linear in each input, a long step loses nothing to curvature and less to rounding. */
const linear = { dtype: 'float32' as const, h: 0.5, tolerance: 1e-5 }
/** For piecewise linear ones, a step shorter than the distance to the next kink. */
const pieces = { dtype: 'float32' as const, h: 0.0625, tolerance: 1e-5 }

const int32 = (shape: readonly number[], values: readonly number[]) => Tensor.from('int32', shape, values)
const scalar = (value: number) => Tensor.from('float64', [], [value])

const arithmetic: GradientCase[] = [
  ...['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Sum'].flatMap((type) =>
    [[[2, 3], [2, 3]], [[2, 3], [3]], [[3], [2, 3]], [[2, 1, 3], [4, 1]], [[2, 3], []], [[1], [2, 2]]].map(([a, b]) =>
      op(type, { a: distinct(a ?? [], { seed: 1 }), b: distinct(b ?? [], { seed: 9, gap: 0.31 }) })
    )
  ),
  op('Pow', { x: random([2, 3], positive), p: random([3]) }),
  op('Pow', { x: random([2, 3]), p: scalar(2) }, { still: ['p'] }),
  op('Pow', { x: random([2, 3]), p: ints([3], []) }, { title: 'Pow to a whole number' }),
  op('Pow', { x: random([2, 3], positive), p: Tensor.from('float64', [1, 1], [0.5]) }, { still: ['p'] }),
  op('Pow', { x: random([3], positive), p: random([3]) }, { still: ['p'] }),
  op('Pow', { x: random([3], positive), p: Tensor.from('float64', [1, 1], [3]) }, { still: ['p'] }),
  op('Sum', { a: random([2, 3]), b: random([3]), c: random([1, 1]) }),
  op('Mean', { a: random([2, 3]), b: random([3]), c: random([2, 1]) }, f32),
  op('Max', { a: distinct([2, 3]), b: distinct([3], { gap: 0.3 }), c: distinct([2, 1], { gap: 0.35 }) }),
  ...['Neg', 'Abs', 'Exp', 'Sin', 'Cos', 'Tanh', 'Sigmoid', 'Identity'].map((type) =>
    op(type, { x: distinct([2, 3]) })
  ),
  ...['Log', 'Sqrt', 'Reciprocal'].map((type) => op(type, { x: random([2, 3], positive) })),
  ...['Floor', 'Ceil', 'Round', 'Sign'].map((type) =>
    graph(`${type} passes nothing`, [node(type, ['x'], ['s']), node('Mul', ['s', 'x'], ['y'])], {
      x: random([5], { high: 3 }),
    })
  ),
  op('Clip', { x: distinct([7]), low: scalar(-0.4), high: scalar(0.55) }, { still: ['low', 'high'] }),
  op('Clip', { x: distinct([7]), low: scalar(-0.4) }, { still: ['low'] }),
  op('Clip', { x: distinct([7]), _: scalar(0), high: scalar(0.4) }, { still: ['high'] }),
  op('Clip', { x: distinct([7]) }, {
    attributes: { min: { float: -0.5 }, max: { float: 0.5 } },
    opset: 10,
    ...pieces,
  }),
  graph('Clip between computed bounds', [
    node('Abs', ['high'], ['top']),
    node('Neg', ['top'], ['bottom']),
    node('Clip', ['x', 'bottom', 'top'], ['y']),
  ], { x: distinct([7]), high: scalar(0.45) }),
  graph('Cast to another float and back', [
    node('Cast', ['x'], ['z'], { to: 1 }),
    node('Cast', ['z'], ['y'], { to: 11 }),
  ], {
    x: random([4]),
  }, { h: 0.25, tolerance: 1e-6 }),
  graph('Cast of whole numbers', [node('Cast', ['i'], ['f'], { to: 11 }), node('Mul', ['f', 'x'], ['y'])], {
    x: random([4]),
    i: int32([4], [1, -2, 3, 0]),
  }, { data: ['i'] }),
  op('Where', { c: bools([2, 3], [1, 0, 1, 0, 0, 1]), a: random([2, 3]), b: random([3], { seed: 2 }) }),
  op('Where', { c: bools([2, 1], [1, 0]), a: random([1, 3]), b: scalar(0.5) }),
  ...(['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual'] as const).map((type) =>
    graph(
      `${type} decides`,
      [
        node(type, ['x', 'limit'], ['c']),
        node('Mul', ['x', 'x'], ['square']),
        node('Where', ['c', 'x', 'square'], ['y']),
      ],
      { x: distinct([6]), limit: scalar(0.05) },
      { still: ['limit'] },
    )
  ),
  graph(
    'And, Or, Xor, Not and IsNaN decide',
    [
      node('Greater', ['x', 'limit'], ['p']),
      node('IsNaN', ['x'], ['q']),
      node('Not', ['q'], ['r']),
      node('And', ['p', 'r'], ['s']),
      node('Xor', ['s', 'q'], ['t']),
      node('Or', ['t', 'q'], ['u']),
      node('Mul', ['x', 'x'], ['square']),
      node('Where', ['u', 'square', 'x'], ['y']),
    ],
    { x: distinct([6]), limit: scalar(0.05) },
    { still: ['limit'], dtype: 'float32', h: 0.0625, tolerance: 1e-5 },
  ),
]

const activations: GradientCase[] = [
  op('Relu', { x: distinct([2, 3]) }),
  op('LeakyRelu', { x: distinct([2, 3]) }),
  op('LeakyRelu', { x: distinct([2, 3]) }, { attributes: { alpha: { float: 0.3 } } }),
  op('Erf', { x: random([2, 3]) }, f32),
  op('PRelu', { x: distinct([2, 3, 2]), slope: random([3, 1]) }),
  op('ThresholdedRelu', { x: distinct([9]) }, { attributes: { alpha: { float: 0.5 } }, ...pieces }),
  ...['Elu', 'Selu', 'Softplus', 'Softsign', 'HardSigmoid'].map((type) => op(type, { x: distinct([2, 3]) }, f32)),
  op('Celu', { x: distinct([2, 3]) }, { ...f32, attributes: { alpha: { float: 1.5 } } }),
  op('Elu', { x: distinct([2, 3]) }, { ...f32, attributes: { alpha: { float: 0.5 } } }),
  op('HardSwish', { x: distinct([2, 3]) }, f32),
  op('Mish', { x: distinct([2, 3]) }, { ...f32, opset: 18 }),
  op('Gelu', { x: distinct([2, 3]) }, { ...f32, opset: 20 }),
  op('Gelu', { x: distinct([2, 3]) }, { ...f32, opset: 20, attributes: { approximate: 'tanh' } }),
  op('Softplus', { x: random([4], { low: -90, high: 90 }) }, { ...f32, title: 'Softplus far from 0' }),
  ...[-1, 0, 1].map((axis) => op('Softmax', { x: random([2, 3, 4]) }, { attributes: { axis } })),
  ...[-1, 0].map((axis) => op('LogSoftmax', { x: random([2, 3, 4]) }, { attributes: { axis } })),
  op('Softmax', { x: random([2, 3, 4]) }, { opset: 11 }),
  op('LogSoftmax', { x: random([2, 3, 4]) }, { opset: 11, attributes: { axis: 2 } }),
]

const layout: GradientCase[] = [
  op('Reshape', { x: random([2, 6]), shape: ints([3, -1, 2]) }),
  op('Reshape', { x: random([2, 6]), shape: ints([0, 2, 3]) }),
  op('Flatten', { x: random([2, 3, 2]) }, { attributes: { axis: 2 } }),
  op('Squeeze', { x: random([1, 3, 1]), axes: ints([0, -1]) }),
  op('Squeeze', { x: random([1, 3, 1]) }, { attributes: { axes: [2] }, opset: 11 }),
  op('Unsqueeze', { x: random([3, 2]), axes: ints([0, -1]) }),
  op('Expand', { x: random([3, 1]), shape: ints([2, 1, 4]) }),
  op('Transpose', { x: random([2, 3, 4]) }),
  op('Transpose', { x: random([2, 3, 4]) }, { attributes: { perm: [2, 0, 1] } }),
  op('Concat', { a: random([2, 1, 2]), b: random([2, 3, 2]), c: random([2, 2, 2]) }, { attributes: { axis: -2 } }),
  graph('Concat of one value twice', [node('Concat', ['x', 'x'], ['y'], { axis: 0 })], { x: random([3]) }),
  graph('Split into unequal parts', [
    node('Split', ['x', 'sizes'], ['p', 'q'], { axis: -1 }),
    node('Mul', ['p', 'q'], ['y']),
  ], { x: random([2, 3]), sizes: ints([2, 1]) }),
  graph(
    'Split by number, one part unused',
    [
      node('Split', ['x'], ['p', 'q', 'r'], { axis: 0, num_outputs: 3 }),
      node('Mul', ['p', 'r'], ['y']),
    ],
    { x: random([6, 2]) },
    { opset: 18 },
  ),
  op('Slice', { x: random([4, 5]), starts: ints([1, -4]), ends: ints([3, 2 ** 40]) }),
  op('Slice', { x: random([4, 5]), starts: ints([1]), ends: ints([5]), axes: ints([-1]), steps: ints([2]) }),
  op('Slice', { x: random([4, 5]), starts: ints([-1]), ends: ints([-100]), axes: ints([0]), steps: ints([-1]) }),
  op('Slice', { x: random([4, 5]) }, {
    attributes: { starts: [0, 1], ends: [2, -1], axes: [0, 1] },
    opset: 9,
    ...linear,
  }),
  op('Pad', { x: random([2, 3]), pads: ints([1, 0, 2, 1]), value: scalar(0.5) }, { still: ['value'] }),
  op('Pad', { x: random([3, 4]), pads: ints([1, -1, -1, 2]) }),
  op('Pad', { x: random([2, 3]), pads: ints([2, 1]), _value: scalar(0), axes: ints([-1]) }, { opset: 18 }),
  ...['edge', 'reflect'].map((mode) =>
    op('Pad', { x: random([3, 4]), pads: ints([2, 1, 1, 3]) }, { attributes: { mode }, ...linear })
  ),
  op('Pad', { x: random([3, 2]), pads: ints([1, 2, 0, 3]) }, { attributes: { mode: 'wrap' }, opset: 19, ...linear }),
  op('Tile', { x: random([2, 3]), repeats: ints([2, 3]) }),
  ...['DCR', 'CRD'].map((mode) =>
    op('DepthToSpace', { x: random([1, 8, 2, 1]) }, { attributes: { blocksize: 2, mode }, ...linear })
  ),
  op('Gather', { x: random([4, 3]), i: ints([3, 0, 3, -1, 1, 1], [2, 3]) }),
  op('Gather', { x: random([2, 4, 3]), i: ints([2, 0]) }, { attributes: { axis: 1 } }),
  op('Gather', { x: random([2, 4, 3]), i: ints([1], []) }, { attributes: { axis: -2 } }),
  op('Gather', { x: random([4, 3]), i: int32([2, 3], [3, 0, 3, -1, 1, 1]) }, { data: ['i'] }),
  op('Gather', { x: random([2, 4, 3]), i: int32([3], [-4, 2, 2]) }, { attributes: { axis: 1 }, data: ['i'] }),
]

const reductions: GradientCase[] = [
  ...['ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceL1', 'ReduceL2', 'ReduceSumSquare', 'ReduceLogSumExp']
    .flatMap((type) => {
      const dtype = type === 'ReduceSumSquare' ? f32 : {}
      return [
        op(type, { x: distinct([2, 3, 2]) }, dtype),
        op(type, { x: distinct([2, 3, 2]), axes: ints([-2]) }, { opset: 18, attributes: { keepdims: 0 }, ...dtype }),
      ]
    }),
  op('ReduceMean', { x: random([2, 3, 2]) }, { attributes: { axes: [0, 2], keepdims: 0 } }),
  op('ReduceLogSum', { x: random([2, 3], positive) }, { attributes: { axes: [1] }, ...f32 }),
  op('ReduceSum', { x: random([2, 3]) }, { attributes: { noop_with_empty_axes: 1 } }),
  op('MatMul', { a: random([2, 3]), b: random([3, 4]) }),
  op('MatMul', { a: random([2, 2, 3]), b: random([3, 4]) }),
  op('MatMul', { a: random([2, 3]), b: random([2, 3, 4]) }),
  op('MatMul', { a: random([2, 1, 2, 3]), b: random([3, 3, 2]) }),
  op('MatMul', { a: random([3]), b: random([3, 2]) }),
  op('MatMul', { a: random([2, 3]), b: random([3]) }),
  op('MatMul', { a: random([3]), b: random([3], { seed: 2 }) }),
  ...[0, 1].flatMap((transA) =>
    [0, 1].map((transB) =>
      op('Gemm', {
        a: random(transA ? [3, 2] : [2, 3]),
        b: random(transB ? [4, 3] : [3, 4]),
        c: random(transA ? [4] : [2, 1]),
      }, { attributes: { transA, transB, alpha: { float: 0.5 }, beta: { float: 1.5 } } })
    )
  ),
  op('Gemm', { a: random([2, 3]), b: random([3, 4]) }),
]

const norms: GradientCase[] = [
  op('LayerNormalization', { x: random([2, 3, 4]), s: random([4]), b: random([4]) }),
  op('LayerNormalization', { x: random([2, 3, 4]), s: random([3, 4]) }, {
    attributes: { axis: 1, epsilon: { float: 0.1 } },
  }),
  op('InstanceNormalization', { x: random([2, 3, 2, 2]), s: random([3]), b: random([3]) }, f32),
  op('InstanceNormalization', { x: random([2, 2, 5]), s: random([2]), b: random([2]) }, {
    ...f32,
    attributes: { epsilon: { float: 0.1 } },
  }),
  op('GroupNormalization', { x: random([2, 4, 3]), s: random([2]), b: random([2]) }, {
    ...f32,
    opset: 18,
    attributes: { num_groups: 2 },
  }),
  op('GroupNormalization', { x: random([2, 4, 2, 2]), s: random([4]), b: random([4]) }, {
    ...f32,
    opset: 21,
    attributes: { num_groups: 2 },
  }),
  op('BatchNormalization', {
    x: random([2, 3, 2]),
    s: random([3]),
    b: random([3]),
    mean: random([3]),
    variance: random([3], positive),
  }, { still: ['mean', 'variance'] }),
  op('Dropout', { x: random([5]), ratio: scalar(0.4) }, { still: ['ratio'], title: 'Dropout, off' }),
]

const conv = (x: number[], w: number[], attributes = {}, bias = true) =>
  op('Conv', { x: random(x), w: random(w, { seed: 3 }), ...(bias && { b: random([w[0] ?? 0]) }) }, {
    attributes,
    ...linear,
  })
const transposed = (x: number[], w: number[], attributes = {}, bias = 0) =>
  op('ConvTranspose', { x: random(x), w: random(w, { seed: 3 }), ...(bias && { b: random([bias]) }) }, {
    attributes,
    ...linear,
  })

const convolutions: GradientCase[] = [
  conv([2, 2, 4, 5], [3, 2, 3, 3]),
  conv([1, 2, 5, 5], [2, 2, 3, 3], { pads: [1, 1, 1, 1] }, false),
  conv([1, 2, 6, 7], [2, 2, 3, 2], { strides: [2, 3], pads: [1, 0, 2, 1] }),
  conv([1, 1, 7, 7], [2, 1, 3, 3], { dilations: [2, 2] }),
  conv([1, 1, 8, 7], [2, 1, 3, 2], { dilations: [2, 3], strides: [3, 2], pads: [2, 1, 0, 1] }),
  conv([2, 4, 4, 4], [6, 2, 3, 3], { group: 2, pads: [1, 1, 1, 1], strides: [2, 2] }),
  conv([2, 3, 4, 4], [3, 1, 3, 3], { group: 3 }),
  conv([2, 2, 4, 4], [4, 1, 2, 2], { group: 2, dilations: [2, 1] }),
  conv([1, 2, 5, 6], [2, 2, 3, 2], { auto_pad: 'SAME_UPPER', strides: [2, 2] }),
  conv([1, 2, 5, 6], [2, 2, 2, 3], { auto_pad: 'SAME_LOWER' }),
  conv([2, 2, 7], [3, 2, 3], { strides: [2], pads: [1, 0] }),
  conv([1, 2, 6, 6], [2, 2, 1, 1], { strides: [2, 2] }),
  // Where channels are added around faults of GPU kernels.
  conv([1, 6, 3, 3], [4, 6, 2, 2]),
  conv([6, 1, 3, 3], [4, 1, 2, 2]),
  conv([1, 2, 3, 3], [12, 1, 2, 2], { group: 2 }),
  conv([1, 2, 3, 3], [4, 1, 2, 2], { group: 2 }, false),
  transposed([1, 4, 3, 3], [4, 1, 2, 2], { group: 2 }, 2),
  transposed([1, 2, 3, 3], [2, 3, 2, 2], {}, 3),
  transposed([1, 2, 3, 4], [2, 2, 3, 3], { strides: [2, 3], pads: [1, 0, 1, 1], output_padding: [1, 2] }),
  transposed([1, 4, 3, 3], [4, 1, 2, 2], { group: 2, dilations: [2, 1] }, 2),
  transposed([1, 2, 4], [2, 2, 3], { strides: [2] }),
]

const pool = (type: string, shape: number[], attributes: Record<string, number | number[] | string>) =>
  op(type, { x: distinct(shape) }, { attributes, ...pieces })

const pools: GradientCase[] = [
  pool('MaxPool', [2, 2, 4, 4], { kernel_shape: [2, 2], strides: [2, 2] }),
  pool('MaxPool', [1, 2, 5, 5], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
  pool('MaxPool', [1, 2, 5, 4], { kernel_shape: [3, 2] }),
  pool('MaxPool', [1, 1, 6, 7], { kernel_shape: [2, 2], strides: [2, 3], dilations: [2, 3] }),
  pool('MaxPool', [1, 1, 5, 6], { kernel_shape: [2, 3], strides: [2, 2], ceil_mode: 1 }),
  pool('MaxPool', [1, 2, 5, 5], { kernel_shape: [2, 2], strides: [2, 2], auto_pad: 'SAME_UPPER' }),
  pool('MaxPool', [2, 2, 7], { kernel_shape: [3], strides: [2], pads: [1, 1] }),
  pool('AveragePool', [2, 2, 4, 4], { kernel_shape: [2, 2], strides: [2, 2] }),
  pool('AveragePool', [1, 2, 5, 5], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
  pool('AveragePool', [1, 2, 5, 5], {
    kernel_shape: [3, 3],
    strides: [2, 1],
    pads: [1, 1, 0, 1],
    count_include_pad: 1,
  }),
  pool('AveragePool', [1, 1, 5, 6], { kernel_shape: [2, 3], strides: [2, 2], ceil_mode: 1 }),
  pool('AveragePool', [2, 2, 7], { kernel_shape: [3] }),
  pool('GlobalAveragePool', [2, 2, 3, 2], {}),
  pool('GlobalMaxPool', [2, 2, 3, 2], {}),
]

/** Every operator that can be trained, with what its forms have of their own. */
export const CASES: readonly GradientCase[] = [
  ...arithmetic,
  ...activations,
  ...layout,
  ...reductions,
  ...norms,
  ...convolutions,
  ...pools,
]
