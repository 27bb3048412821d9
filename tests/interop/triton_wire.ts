/**
 * Requests as Triton's Python HTTP client puts them on the wire (tritonclient.http over geventhttpclient 2.0.8), byte by
 * byte: bytes stand as Latin-1, `{host}` for the gateway's address. And what each must be answered, unpacked.
 */
export interface WireRecord {
  request: string
  /** JSON of the answer, but for the data behind it. */
  message: unknown
  /** The raw data behind the JSON, as Latin-1; none if the answer is JSON alone. */
  raw?: string
  encoding?: 'gzip' | 'deflate'
}

const AGENT = 'user-agent: python/gevent-http-client-2.0.8'

/** a = [[2, 3], [1, 1]] and b = [[5, 7], [0.5, -1]] as little-endian floats. */
const A = '\x00\x00\x00@\x00\x00@@\x00\x00\x80?\x00\x00\x80?'
const B = '\x00\x00\xa0@\x00\x00\xe0@\x00\x00\x00?\x00\x00\x80\xbf'
/** Their sum [[7, 10], [1.5, 0]] and product [[10, 21], [0.5, -1]]. */
const SUM = '\x00\x00\xe0@\x00\x00 A\x00\x00\xc0?\x00\x00\x00\x00'
const PRODUCT = '\x00\x00 A\x00\x00\xa8A\x00\x00\x00?\x00\x00\x80\xbf'

const BINARY_PAIR =
  '{"name":"a","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}},{"name":"b","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}}'
const JSON_PAIR =
  '{"name":"a","shape":[2,2],"datatype":"FP32","data":[2.0,3.0,1.0,1.0]},{"name":"b","shape":[2,2],"datatype":"FP32","data":[5.0,7.0,0.5,-1.0]}'

const described = (name: string) => ({ name, datatype: 'FP32', shape: [2, 2] })
const inBinary = (name: string, size = 16) => ({ ...described(name), parameters: { binary_data_size: size } })
const pair = (outputs: unknown[]) => ({ model_name: 't-pair', model_version: '1', outputs })
const BOTH = { message: pair([inBinary('sum'), inBinary('product')]), raw: SUM + PRODUCT }

/** A request with its lengths filled in as the client writes them. */
function post(path: string, json: string, raw?: string, more = ''): string {
  const length = raw === undefined ? '' : `inference-header-content-length: ${json.length}\r\n`
  const body = json + (raw ?? '')
  return `POST /v2/models/${path}/infer HTTP/1.1\r\n${AGENT}\r\n${more}${length}host: {host}\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

function packed(coding: 'gzip' | 'deflate', body: string): string {
  const head =
    `content-encoding: ${coding}\r\naccept-encoding: ${coding}\r\ninference-header-content-length: 217\r\nhost: {host}`
  return `POST /v2/models/t-pair/infer HTTP/1.1\r\n${AGENT}\r\n${head}\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

export const TRITON_RECORDS: Readonly<Record<string, WireRecord>> = {
  'binary in and out': {
    request: post('t-pair', `{"inputs":[${BINARY_PAIR}],"parameters":{"binary_data_output":true}}`, A + B),
    ...BOTH,
  },
  'JSON in and out': {
    request: post(
      't-pair',
      `{"inputs":[${JSON_PAIR}],"outputs":[{"name":"sum","parameters":{"binary_data":false}},{"name":"product","parameters":{"binary_data":false}}]}`,
    ),
    message: pair([{ ...described('sum'), data: [7, 10, 1.5, 0] }, {
      ...described('product'),
      data: [10, 21, 0.5, -1],
    }]),
  },
  'JSON in, binary out': {
    request: post('t-pair', `{"inputs":[${JSON_PAIR}],"parameters":{"binary_data_output":true}}`),
    ...BOTH,
  },
  'both mixed, with an id': {
    request: post(
      't-pair',
      '{"id":"7","inputs":[{"name":"a","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}},{"name":"b","shape":[2,2],"datatype":"FP32","data":[5.0,7.0,0.5,-1.0]}],"outputs":[{"name":"product","parameters":{"binary_data":true}},{"name":"sum","parameters":{"binary_data":false}}]}',
      A,
    ),
    message: { ...pair([{ ...described('sum'), data: [7, 10, 1.5, 0] }, inBinary('product')]), id: '7' },
    raw: PRODUCT,
  },
  'one output of two': {
    request: post(
      't-pair',
      `{"inputs":[${BINARY_PAIR}],"outputs":[{"name":"product","parameters":{"binary_data":true}}]}`,
      A + B,
    ),
    message: pair([inBinary('product')]),
    raw: PRODUCT,
  },
  'a version, a priority, a time-out and a parameter of its own': {
    request: post(
      't-pair/versions/1',
      `{"inputs":[${BINARY_PAIR}],"parameters":{"priority":1,"timeout":20000000,"binary_data_output":true,"mine":42}}`,
      A + B,
    ),
    ...BOTH,
  },
  'gzip both ways': {
    request: packed(
      'gzip',
      '\x1f\x8b\x08\x00\xe7\xf9\x00k\x02\xff\xabV\xca\xcc+(-)V\xb2\x8a\xaeV\xcaK\xccMU\xb2RJT\xd2Q*\xceH,\x00\xb2\xa3\x8dt\x8cbu\x94R\x12K\x12K*A\x02Jn\x01\xc6F@\xf9\x82\xc4"\xa0\xe2\x92\xd4"\xa0\xcej\xa5\xa4\xcc\xbc\xc4\xa2\xcax\x90\xb2\xf8\xe2\xcc*\xa0:C\xb3\xdaZ\x1d\xb8\x89IT21\x16\x9f\xb2\xfc\xd2\x12\xa0O\x94\xacJ\x8aJSkk\x19\x18\x18\x1c\x80\x08\x88\x1b\xec!x\x01\x90\xfd\x00\x88\x19@\xfc\xfd\x00\xf2:OG\xf9\x00\x00\x00',
    ),
    ...BOTH,
    encoding: 'gzip',
  },
  'deflate both ways': {
    request: packed(
      'deflate',
      'x\x9c\xabV\xca\xcc+(-)V\xb2\x8a\xaeV\xcaK\xccMU\xb2RJT\xd2Q*\xceH,\x00\xb2\xa3\x8dt\x8cbu\x94R\x12K\x12K*A\x02Jn\x01\xc6F@\xf9\x82\xc4"\xa0\xe2\x92\xd4"\xa0\xcej\xa5\xa4\xcc\xbc\xc4\xa2\xcax\x90\xb2\xf8\xe2\xcc*\xa0:C\xb3\xdaZ\x1d\xb8\x89IT21\x16\x9f\xb2\xfc\xd2\x12\xa0O\x94\xacJ\x8aJSkk\x19\x18\x18\x1c\x80\x08\x88\x1b\xec!x\x01\x90\xfd\x00\x88\x19@\xfc\xfd\x00\x81\xabO\x0b',
    ),
    ...BOTH,
    encoding: 'deflate',
  },
  'BYTES in binary': {
    request: post(
      't-text',
      '{"inputs":[{"name":"x","shape":[1,2],"datatype":"BYTES","parameters":{"binary_data_size":26}}],"parameters":{"binary_data_output":true}}',
      '\x05\x00\x00\x00shoal\r\x00\x00\x00gr\xc3\xb6\xc3\x9fer \xf0\x9f\x90\x9f',
    ),
    message: {
      model_name: 't-text',
      model_version: '1',
      outputs: [{ name: 'y', datatype: 'BYTES', shape: [1, 2], parameters: { binary_data_size: 26 } }],
    },
    raw: '\x05\x00\x00\x00shoal\r\x00\x00\x00gr\xc3\xb6\xc3\x9fer \xf0\x9f\x90\x9f',
  },
  'the highest classes, with labels': {
    request: post(
      't-labelled',
      '{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","parameters":{"binary_data_size":24}}],"outputs":[{"name":"y","parameters":{"classification":2,"binary_data":true}}]}',
      '\x00\x00\xa0@\x00\x00\x00\xc0\x00\x00@@\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@',
    ),
    message: {
      model_name: 't-labelled',
      model_version: '1',
      outputs: [{ name: 'y', datatype: 'BYTES', shape: [2, 2], parameters: { binary_data_size: 46 } }],
    },
    raw: '\x07\x00\x00\x005:0:cat\x08\x00\x00\x003:2:fish\x08\x00\x00\x002:2:fish\x07\x00\x00\x001:1:dog',
  },
}
