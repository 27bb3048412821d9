/**
 * The part of ONNX's protobuf schema that Shoal reads and writes, as one table: message → field → [number, kind, rule].
 * Field numbers are those of onnx.proto (https://onnx.ai/onnx/api/classes.html). The TypeScript types below follow from it.
 *
 * Kinds, beside the names of messages:
 * - `int`     int32, int64 or enum whose values are small: a JavaScript number; beyond ±2^53 it is refused
 * - `int64`   a bigint: attributes hold such values as INT64_MAX
 * - `float`   32 bits
 * - `string`  valid UTF-8
 * - `bytes`   a view of the file, not a copy
 * - `packed`  numbers left as their packed encoding, a view: 100 MB of varints would be gigabytes of numbers
 *
 * Rules: `repeated`; `optional` (undefined where absent, so that an explicit zero survives); none (zero or empty where
 * absent). Messages without a rule are undefined where absent. A field not listed is skipped in reading.
 */
export const SCHEMA = {
  ModelProto: {
    irVersion: [1, 'int'],
    producerName: [2, 'string'],
    producerVersion: [3, 'string'],
    domain: [4, 'string'],
    modelVersion: [5, 'int64'],
    docString: [6, 'string'],
    graph: [7, 'GraphProto'],
    opsetImport: [8, 'OperatorSetIdProto', 'repeated'],
    metadataProps: [14, 'StringStringEntryProto', 'repeated'],
    /** TrainingInfoProto, kept as it came. */
    trainingInfo: [20, 'bytes', 'repeated'],
    /** FunctionProto, kept as it came. */
    functions: [25, 'bytes', 'repeated'],
  },
  OperatorSetIdProto: { domain: [1, 'string'], version: [2, 'int'] },
  StringStringEntryProto: { key: [1, 'string'], value: [2, 'string'] },
  /** The bodies of model-local functions and training graphs: read only to look for external data. */
  FunctionProto: { node: [7, 'NodeProto', 'repeated'] },
  TrainingInfoProto: { initialization: [1, 'GraphProto'], algorithm: [2, 'GraphProto'] },
  GraphProto: {
    node: [1, 'NodeProto', 'repeated'],
    name: [2, 'string'],
    initializer: [5, 'TensorProto', 'repeated'],
    docString: [10, 'string'],
    input: [11, 'ValueInfoProto', 'repeated'],
    output: [12, 'ValueInfoProto', 'repeated'],
    valueInfo: [13, 'ValueInfoProto', 'repeated'],
    /** TensorAnnotation, kept as it came. */
    quantizationAnnotation: [14, 'bytes', 'repeated'],
    /** SparseTensorProto, kept as it came. */
    sparseInitializer: [15, 'bytes', 'repeated'],
    metadataProps: [16, 'StringStringEntryProto', 'repeated'],
  },
  NodeProto: {
    input: [1, 'string', 'repeated'],
    output: [2, 'string', 'repeated'],
    name: [3, 'string'],
    opType: [4, 'string'],
    attribute: [5, 'AttributeProto', 'repeated'],
    docString: [6, 'string'],
    domain: [7, 'string'],
    overload: [8, 'string'],
    metadataProps: [9, 'StringStringEntryProto', 'repeated'],
  },
  AttributeProto: {
    name: [1, 'string'],
    f: [2, 'float', 'optional'],
    i: [3, 'int64', 'optional'],
    s: [4, 'bytes', 'optional'],
    t: [5, 'TensorProto'],
    g: [6, 'GraphProto'],
    floats: [7, 'float', 'repeated'],
    ints: [8, 'int64', 'repeated'],
    strings: [9, 'bytes', 'repeated'],
    tensors: [10, 'TensorProto', 'repeated'],
    graphs: [11, 'GraphProto', 'repeated'],
    docString: [13, 'string'],
    tp: [14, 'TypeProto'],
    typeProtos: [15, 'TypeProto', 'repeated'],
    type: [20, 'int'],
    refAttrName: [21, 'string'],
    /** SparseTensorProto, kept as it came. */
    sparseTensor: [22, 'bytes', 'optional'],
    sparseTensors: [23, 'bytes', 'repeated'],
  },
  ValueInfoProto: {
    name: [1, 'string'],
    type: [2, 'TypeProto'],
    docString: [3, 'string'],
    metadataProps: [4, 'StringStringEntryProto', 'repeated'],
  },
  TensorProto: {
    dims: [1, 'int', 'repeated'],
    dataType: [2, 'int'],
    /** A part of a larger tensor; nothing writes these, and onnxruntime refuses them. */
    segment: [3, 'bytes', 'optional'],
    floatData: [4, 'packed', 'repeated'],
    int32Data: [5, 'packed', 'repeated'],
    stringData: [6, 'bytes', 'repeated'],
    int64Data: [7, 'packed', 'repeated'],
    name: [8, 'string'],
    rawData: [9, 'bytes', 'optional'],
    doubleData: [10, 'packed', 'repeated'],
    uint64Data: [11, 'packed', 'repeated'],
    docString: [12, 'string'],
    externalData: [13, 'StringStringEntryProto', 'repeated'],
    dataLocation: [14, 'int'],
    metadataProps: [16, 'StringStringEntryProto', 'repeated'],
  },
  SparseTensorProto: {
    values: [1, 'TensorProto'],
    indices: [2, 'TensorProto'],
    dims: [3, 'int', 'repeated'],
  },
  /** Exactly one of the `*Type` fields is set. Those that are not tensors are kept as they came. */
  TypeProto: {
    tensorType: [1, 'TensorTypeProto'],
    sequenceType: [4, 'bytes', 'optional'],
    mapType: [5, 'bytes', 'optional'],
    denotation: [6, 'string'],
    opaqueType: [7, 'bytes', 'optional'],
    sparseTensorType: [8, 'bytes', 'optional'],
    optionalType: [9, 'bytes', 'optional'],
  },
  TensorTypeProto: { elemType: [1, 'int'], shape: [2, 'TensorShapeProto'] },
  TensorShapeProto: { dim: [1, 'DimensionProto', 'repeated'] },
  /** A fixed size, a name, or neither (free and unnamed). */
  DimensionProto: {
    dimValue: [1, 'int', 'optional'],
    dimParam: [2, 'string', 'optional'],
    denotation: [3, 'string'],
  },
} as const satisfies Record<string, Record<string, FieldDef>>

export type FieldDef = readonly [number: number, kind: string, rule?: 'repeated' | 'optional']
export type MessageName = keyof typeof SCHEMA
export type Fields<M extends MessageName> = (typeof SCHEMA)[M]

interface Scalars {
  int: number
  int64: bigint
  float: number
  string: string
  bytes: Uint8Array
  packed: Uint8Array
}
export type ScalarKind = keyof Scalars

type One<K> = K extends ScalarKind ? Scalars[K] : K extends MessageName ? Message<K> : never
type FieldType<F extends FieldDef> = F[2] extends 'repeated' ? readonly One<F[1]>[]
  : F[2] extends 'optional' ? One<F[1]> | undefined
  : F[1] extends MessageName ? One<F[1]> | undefined
  : One<F[1]>

/** A message as read: every field is there, absent ones with their defaults. */
export type Message<M extends MessageName> = { readonly [F in keyof Fields<M>]: FieldType<Fields<M>[F] & FieldDef> }

type OneInit<K> = K extends ScalarKind ? Scalars[K] : K extends MessageName ? MessageInit<K> : never
type InitType<F extends FieldDef> = F[2] extends 'repeated' ? readonly OneInit<F[1]>[] : OneInit<F[1]>

/** A message to write: name only the fields that matter. A message as read is one too. */
export type MessageInit<M extends MessageName> = {
  readonly [F in keyof Fields<M>]?: InitType<Fields<M>[F] & FieldDef> | undefined
}

export type ModelProto = Message<'ModelProto'>
export type GraphProto = Message<'GraphProto'>
export type NodeProto = Message<'NodeProto'>
export type AttributeProto = Message<'AttributeProto'>
export type TensorProto = Message<'TensorProto'>
export type ValueInfoProto = Message<'ValueInfoProto'>
export type TypeProto = Message<'TypeProto'>
export type TensorShapeProto = Message<'TensorShapeProto'>
export type SparseTensorProto = Message<'SparseTensorProto'>

/** AttributeProto.type: which of its fields holds the value. */
export const ATTRIBUTE_TYPE = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
} as const

/** TensorProto.dataLocation: the data lies in another file. */
export const EXTERNAL = 1

/** Element types that Shoal does not carry, by their ONNX number; the others are in wire/dtype.ts. */
export const OTHER_ELEMENT_TYPES: Readonly<Record<number, string>> = {
  14: 'complex64',
  15: 'complex128',
  16: 'bfloat16',
  17: 'float8e4m3fn',
  18: 'float8e4m3fnuz',
  19: 'float8e5m2',
  20: 'float8e5m2fnuz',
  21: 'uint4',
  22: 'int4',
  23: 'float4e2m1',
  24: 'float8e8m0',
  25: 'uint2',
  26: 'int2',
}
