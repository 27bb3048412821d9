import { attribute, type NodeProto } from '../models/onnx.ts'
import { dtypeOfOnnx, DTYPES } from '../wire/dtype.ts'
import type { RpcError } from '../wire/errors.ts'
import { LOWERINGS } from './lower.ts'
import { originOf, refusal } from './refusal.ts'

/**
 * Checks, before anything runs, that each node can be differentiated.
 * @throws RpcError `invalid_argument` naming the node, its operator, what is required and what to do
 */
export function checkSupport(nodes: readonly NodeProto[], opset: number): void {
  for (const node of nodes) {
    if (!isStandard(node.domain) || !Object.hasOwn(LOWERINGS, node.opType)) throw unknownOperator(node)
    for (const { requirement, remedy, found } of RULES[node.opType] ?? []) {
      const got = found(node, opset)
      if (got !== undefined) throw refusal(originOf(node), requirement, got, remedy)
    }
  }
}

function isStandard(domain: string): boolean {
  return domain === '' || domain === 'ai.onnx'
}

function unknownOperator(node: NodeProto): RpcError {
  const remedy = isStandard(node.domain)
    ? 'build it from operators such as Conv, MatMul, Gemm, Softmax, LayerNormalization and arithmetic, and export again'
    : 'export it with the standard ONNX operators alone, without fusions or functions'
  const name = isStandard(node.domain) ? node.opType : `${node.domain}.${node.opType}`
  return refusal(originOf(node), 'be of an operator with a gradient rule', name, remedy)
}

interface Rule {
  requirement: string
  remedy: string
  /** What the node has instead; undefined if it meets the requirement. */
  found: (node: NodeProto, opset: number) => string | undefined
}

/** An integer attribute that must be `value`, which is also its default. */
function fixed(name: string, value: number, remedy: string): Rule {
  const found = (node: NodeProto) => {
    const got = attribute(node, name, 'int', value)
    return got === value ? undefined : `${got}`
  }
  return { requirement: `have ${name} ${value}`, remedy, found }
}

/** Only the first output may be used. */
function firstOutputOnly(remedy: string): Rule {
  const found = (node: NodeProto) => {
    const others = node.output.slice(1).filter((name) => name !== '')
    return others.length > 0 ? others.map((name) => `"${name}"`).join(', ') : undefined
  }
  return { requirement: 'have no second output', remedy, found }
}

function none(name: string, remedy: string): Rule {
  const found = (node: NodeProto) => node.attribute.some((one) => one.name === name) ? name : undefined
  return { requirement: `have no ${name}`, remedy, found }
}

function oneOf(name: string, values: readonly string[], remedy: string): Rule {
  const found = (node: NodeProto) => {
    const got = attribute(node, name, 'string', values[0] ?? '')
    return values.includes(got) ? undefined : got
  }
  return { requirement: `have ${name} ${values.join(' or ')}`, remedy, found }
}

const atMostTwoAxes: Rule = {
  requirement: 'work on one or two spatial axes',
  remedy: 'reshape volumes to pictures',
  found: (node) => {
    const { length } = attribute(node, 'kernel_shape', 'ints', [])
    return length > 2 ? `${length}` : undefined
  },
}

const FROZEN =
  'statistics per batch would make n workers × batch b differ from one worker × n·b; export it in eval mode, or use GroupNormalization or LayerNormalization'

const CASTS: ReadonlySet<number> = new Set(
  (['float32', 'float64', 'int32', 'int64', 'bool'] as const).map((dtype) => DTYPES[dtype].onnx),
)

const RULES: Readonly<Record<string, readonly Rule[]>> = {
  BatchNormalization: [
    fixed('training_mode', 0, FROZEN),
    fixed('spatial', 1, 'export it with opset_version=17'),
    // Before opset 14 the statistics' outputs were what told training from inference.
    firstOutputOnly(FROZEN),
  ],
  LayerNormalization: [
    firstOutputOnly('compute the mean with ReduceMean instead'),
    fixed('stash_type', 1, 'normalize in float32'),
  ],
  Dropout: [firstOutputOnly('leave its mask unused')],
  Conv: [atMostTwoAxes],
  ConvTranspose: [
    atMostTwoAxes,
    none('output_shape', 'give pads and output_padding instead'),
    oneOf('auto_pad', ['NOTSET', 'VALID'], 'give pads instead'),
  ],
  MaxPool: [atMostTwoAxes, firstOutputOnly('leave its indices unused'), fixed('storage_order', 0, 'leave it out')],
  AveragePool: [atMostTwoAxes, {
    requirement: 'have dilations 1',
    remedy: 'use Conv with a constant kernel',
    found: (node) => {
      const dilations = attribute(node, 'dilations', 'ints', [])
      return dilations.some((dilation) => dilation !== 1) ? `[${dilations}]` : undefined
    },
  }, {
    requirement: 'not combine ceil_mode 1 with count_include_pad 1',
    remedy: 'pad explicitly before it',
    found: (node) =>
      attribute(node, 'ceil_mode', 'int', 0) === 1 && attribute(node, 'count_include_pad', 'int', 0) === 1
        ? 'both'
        : undefined,
  }],
  Pad: [oneOf('mode', ['constant', 'reflect', 'edge', 'wrap'], 'use one of these modes')],
  Gelu: [oneOf('approximate', ['none', 'tanh'], 'use one of these')],
  Cast: [{
    requirement: 'cast to float32, int32, int64 or bool',
    remedy: 'export the model in float32',
    found: (node) => {
      const to = attribute(node, 'to', 'int', 0)
      return CASTS.has(to) ? undefined : dtypeOfOnnx(to) ?? `type ${to}`
    },
  }],
}
