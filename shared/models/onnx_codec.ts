import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { byteLengthOf, type Bytes, concat } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import {
  type FieldDef,
  type Message,
  type MessageInit,
  type MessageName,
  type ScalarKind,
  SCHEMA,
} from './onnx_schema.ts'

/** How many more values may be read: one allowance may span several messages. */
export interface Budget {
  values: number
}

export function fullBudget(): Budget {
  return { values: LIMITS.maxModelValues }
}

/**
 * Reads a message by the table. Bytes in it are views of `bytes`.
 * @throws Error (not yet an RpcError) if the bytes do not parse, nest too deeply or hold too many values
 */
export function decode<M extends MessageName>(name: M, bytes: Uint8Array, budget = fullBudget()): Message<M> {
  return decodeFields(PLANS[name], new BinaryReader(bytes), bytes.length, 1, budget) as unknown as Message<M>
}

/** Writes a message by the table. Fields without a rule are left out if zero or empty, as proto3 does. */
export function encode<M extends MessageName>(name: M, message: MessageInit<M>): Bytes {
  return concat(encodeFields(PLANS[name], message as Init))
}

interface FieldPlan {
  no: number
  key: string
  kind: ScalarKind | MessageName
  repeated: boolean
  optional: boolean
}
interface MessagePlan {
  name: string
  byNumber: ReadonlyMap<number, FieldPlan>
  /** Every field with its default, spread into each new message: one hidden class, and no array until one is needed. */
  defaults: Readonly<Record<string, unknown>>
}
type Init = Readonly<Record<string, unknown>>

const NOTHING: readonly never[] = Object.freeze([])
const DEFAULT_OF: Readonly<Record<string, unknown>> = { int: 0, int64: 0n, float: 0, string: '' }

const PLANS = Object.fromEntries(
  Object.entries(SCHEMA).map(([name, fields]) => [name, planOf(name, fields)]),
) as Record<MessageName, MessagePlan>

function planOf(name: string, fields: Record<string, FieldDef>): MessagePlan {
  const plans = Object.entries(fields).map(([key, [no, kind, rule]]): FieldPlan => (
    { no, key, kind: kind as FieldPlan['kind'], repeated: rule === 'repeated', optional: rule === 'optional' }
  ))
  return {
    name,
    byNumber: new Map(plans.map((plan) => [plan.no, plan])),
    defaults: Object.fromEntries(plans.map((plan) => [
      plan.key,
      plan.repeated ? NOTHING : plan.optional ? undefined : DEFAULT_OF[plan.kind],
    ])),
  }
}

function isScalar(kind: FieldPlan['kind']): kind is ScalarKind {
  return !Object.hasOwn(SCHEMA, kind)
}

function decodeFields(
  plan: MessagePlan,
  reader: BinaryReader,
  end: number,
  depth: number,
  budget: Budget,
): Record<string, unknown> {
  if (depth > LIMITS.maxDepth) throw new Error(`messages nest deeper than ${LIMITS.maxDepth}`)
  const message: Record<string, unknown> = { ...plan.defaults }

  const spend = () => {
    if (--budget.values < 0) throw new Error(`it holds more than ${LIMITS.maxModelValues} values`)
  }
  const take = (field: FieldPlan, wireType: WireType): unknown => {
    if (isScalar(field.kind)) return readScalar(reader, field.kind, wireType)
    if (wireType !== WireType.LengthDelimited) throw new Error(`wrong wire type ${wireType}`)
    const innerEnd = reader.uint32() + reader.pos
    if (innerEnd > end) throw new Error('a length runs past the end')
    return decodeFields(PLANS[field.kind], reader, innerEnd, depth + 1, budget)
  }

  while (reader.pos < end) {
    spend()
    const [no, wireType] = reader.tag()
    if (wireType === WireType.StartGroup) throw new Error('it has a group, which ONNX does not use')
    const field = plan.byNumber.get(no)
    if (!field) {
      reader.skip(wireType, no)
    } else if (!field.repeated) {
      // Protobuf would merge two such messages: a second graph must not hide the first one from our checks.
      if (!isScalar(field.kind) && message[field.key] !== undefined) throw new Error(`${field.key} is given twice`)
      message[field.key] = take(field, wireType)
    } else {
      const list = (message[field.key] === NOTHING ? (message[field.key] = []) : message[field.key]) as unknown[]
      const packed = wireType === WireType.LengthDelimited &&
        (field.kind === 'int' || field.kind === 'int64' || field.kind === 'float')
      if (packed) {
        const packedEnd = reader.uint32() + reader.pos
        if (packedEnd > end) throw new Error('a length runs past the end')
        while (reader.pos < packedEnd) {
          spend()
          list.push(readScalar(reader, field.kind as 'int', ELEMENT_WIRE_TYPE[field.kind as 'int']))
        }
        if (reader.pos !== packedEnd) throw new Error('a packed list ends inside an element')
      } else {
        list.push(take(field, wireType))
      }
    }
    if (reader.pos > end) throw new Error(`${plan.name} ends inside a field`)
  }
  return message
}

const ELEMENT_WIRE_TYPE = { int: WireType.Varint, int64: WireType.Varint, float: WireType.Bit32 } as const

function readScalar(reader: BinaryReader, kind: ScalarKind, wireType: WireType): unknown {
  // An element that its writer did not pack is encoded as it would be inside a packed list.
  if (kind === 'packed' && wireType !== WireType.LengthDelimited) return reader.skip(wireType)
  const expected = kind === 'string' || kind === 'bytes' || kind === 'packed'
    ? WireType.LengthDelimited
    : ELEMENT_WIRE_TYPE[kind]
  if (wireType !== expected) throw new Error(`wrong wire type ${wireType}`)
  switch (kind) {
    case 'int': {
      const value = Number(reader.int64())
      if (!Number.isSafeInteger(value)) throw new Error('an integer is beyond ±2^53')
      return value
    }
    case 'int64':
      return BigInt(reader.int64())
    case 'float':
      return reader.float()
    case 'string':
      return reader.string(true)
    case 'bytes':
    case 'packed':
      return reader.bytes()
  }
}

/** Parts longer than this are handed on, not copied, until the one final join. */
const COPIED_BYTES = 4096

/** The encoding in parts, so that weights are copied once however deep they lie. */
function encodeFields(plan: MessagePlan, message: Init): Uint8Array[] {
  const parts: Uint8Array[] = []
  const writer = new BinaryWriter()
  const bytes = (no: number, inner: readonly Uint8Array[]) => {
    const length = byteLengthOf(inner)
    writer.tag(no, WireType.LengthDelimited).uint32(length)
    if (length > COPIED_BYTES) parts.push(writer.finish())
    for (const part of inner) length > COPIED_BYTES ? parts.push(part) : writer.raw(part)
  }
  const one = (field: FieldPlan, value: unknown) => {
    if (!isScalar(field.kind)) return bytes(field.no, encodeFields(PLANS[field.kind], value as Init))
    switch (field.kind) {
      case 'int':
      case 'int64':
        return writer.tag(field.no, WireType.Varint).int64(value as number | bigint)
      case 'float':
        return writer.tag(field.no, WireType.Bit32).float(value as number)
      case 'string':
        return writer.tag(field.no, WireType.LengthDelimited).string(value as string)
      case 'bytes':
      case 'packed':
        return bytes(field.no, [value as Uint8Array])
    }
  }
  for (const field of plan.byNumber.values()) {
    const value = message[field.key]
    if (value === undefined) continue
    if (!field.repeated) {
      if (value !== plan.defaults[field.key]) one(field, value)
    } else if (field.kind === 'int' || field.kind === 'int64' || field.kind === 'float') {
      const list = value as readonly (number | bigint)[]
      if (list.length === 0) continue
      writer.tag(field.no, WireType.LengthDelimited).fork()
      for (const element of list) {
        if (field.kind === 'float') writer.float(element as number)
        else writer.int64(element)
      }
      writer.join()
    } else {
      for (const element of value as readonly unknown[]) one(field, element)
    }
  }
  parts.push(writer.finish())
  return parts
}
