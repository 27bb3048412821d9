import { decode, encode, encodeParts } from '../../shared/wire/codec.ts'
import { encodeFrame } from '../../shared/wire/frame.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { type Figure, figure, microsecondsOf, type Report, report } from './figures.ts'

const RUNS = 9

/** A request's header as it goes over a socket. */
const ENVELOPE = {
  service: 'demo.Hello',
  method: 'sayHello',
  version: '^1.0.0',
  timeoutMs: 500,
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  message: { name: 'sea' },
}

/** Encoding and decoding, beside JSON on the same values. */
export function codecBench(): Promise<Report> {
  const tensor = Tensor.from('float32', [512, 512], new Float32Array(512 * 512).fill(0.5))
  const message = encode({ x: tensor })
  const base64 = JSON.stringify({ shape: tensor.shape, data: Buffer.from(tensor.bytes).toString('base64') })
  const envelope = encode(ENVELOPE)
  const json = JSON.stringify(ENVELOPE)
  const utf8 = new TextEncoder()

  const series: Record<string, { unit: string; values: number[] }> = {}
  const add = (name: string, unit: string, value: number) => (series[name] ??= { unit, values: [] }).values.push(value)
  for (let run = 0; run < RUNS; run++) {
    // In pieces, as sockets and HTTP responses take it: the data themselves are not copied.
    add('tensor_1mib_encode_us', 'µs', microsecondsOf(() => encodeParts({ x: tensor }), 2000))
    add('tensor_1mib_encode_joined_us', 'µs', microsecondsOf(() => encode({ x: tensor }), 200))
    add('tensor_1mib_frame_us', 'µs', microsecondsOf(() => encodeFrame(FRAME(tensor)), 200))
    add('tensor_1mib_decode_us', 'µs', microsecondsOf(() => decode(message), 2000))
    add(
      'tensor_1mib_json_base64_decode_us',
      'µs',
      microsecondsOf(() => Buffer.from(JSON.parse(base64).data, 'base64'), 50),
    )
    const ours = microsecondsOf(() => encode(ENVELOPE), 50_000)
    const theirs = microsecondsOf(() => utf8.encode(JSON.stringify(ENVELOPE)), 50_000)
    add('envelope_encode_us', 'µs', ours)
    add('envelope_encode_vs_json', 'ratio', ours / theirs)
    add(
      'envelope_decode_vs_json',
      'ratio',
      microsecondsOf(() => decode(envelope), 50_000) / microsecondsOf(() => JSON.parse(json), 50_000),
    )
  }
  const figures: Record<string, Figure> = {}
  for (const [name, { unit, values }] of Object.entries(series)) figures[name] = figure(values, unit)
  const setup =
    `1 MiB float32 tensor; envelope of ${envelope.byteLength} B (JSON ${json.length} B); vs_json: our time ÷ JSON's, below 1 is faster`
  return Promise.resolve(report('codec', setup, ['@msgpack/msgpack'], figures))
}

const FRAME = (tensor: Tensor) =>
  ({
    type: 'response',
    id: 1,
    header: { message: { $tensor: 'float32', shape: tensor.shape, part: 0 } },
    parts: [tensor.bytes],
  }) as const
