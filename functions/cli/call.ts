import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { Inference } from '../../shared/contracts/inference.ts'
import { encodeUtf8 } from '../../shared/base/bytes.ts'
import { systemClock } from '../../shared/base/clock.ts'
import { Deadline } from '../../shared/rpc/deadline.ts'
import { newTrace } from '../../shared/rpc/trace.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { decodePayload } from '../../shared/wire/payload.ts'
import { createClient } from '../../shared/rpc/create_client.ts'
import type { Metadata } from '../../shared/rpc/send.ts'
import { makeFolder } from '../../shared/stores/file_folder.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'
import { fromJsonValues, type Tensor, toJsonValues } from '../../shared/wire/tensor.ts'
import { decodePng, encodePng, toPicture, toTensor } from '../demo/picture.ts'
import {
  type Command,
  GATEWAY_OPTIONS,
  type GatewayAccess,
  gatewayAccess,
  gatewayHelp,
  parse,
  wholeNumber,
} from './command.ts'
import type { Listed } from './models.ts'
import { request } from './request.ts'
import { stagesOf } from './stages.ts'
import { alignColumns, quote, shortFloat } from './text.ts'

const HELP = `Calls a model or a function through a gateway.

Usage: shoal call MODEL INPUT=VALUE …          a model's inputs by name
       shoal call SERVICE/METHOD ['{"json":1}']  a function's method

VALUE is JSON (nested arrays give the shape), @FILE.json, or @FILE.png for an input of shape [N,3,H,W].

  --model-version V   a version of the model, or an alias of one (default: the newest)
  --out DIR           writes outputs that are pictures to DIR as PNG
  --json              prints outputs as JSON
  --stream            calls a streaming method: each item on a line of its own
  --timeout MS        over all attempts (default 30000)
${gatewayHelp(22)}

Examples: shoal call cartoon image=@functions/demo/fish.png --out /tmp
          shoal call demo.Hello/sayHello '{"name":"sea"}'
`

export const call: Command = {
  summary: 'calls a model or a function',
  help: HELP,
  async run(args) {
    const { values, positionals: [target, ...inputs] } = parse(args, {
      ...GATEWAY_OPTIONS,
      'model-version': { type: 'string' },
      out: { type: 'string' },
      json: { type: 'boolean', default: false },
      timeout: { type: 'string', default: '30000' },
      stream: { type: 'boolean', default: false },
    })
    if (!target) throw invalid('Cannot call: a MODEL or SERVICE/METHOD is required, got none')
    const access = gatewayAccess(values, process.env)
    const timeoutMs = wholeNumber('timeout', values.timeout, 1, 3_600_000)
    if (values.stream) return await callStream(access, target, paramsOf(target, inputs), timeoutMs)
    if (target.includes('/')) return await callFunction(access, target, paramsOf(target, inputs), timeoutMs)
    await callModel(access, target, inputs, {
      version: values['model-version'],
      out: values.out,
      json: values.json,
      timeoutMs,
    })
  },
}

/** The JSON that a method is called with, as it was given. */
function paramsOf(target: string, [json = '{}', excess]: string[]): string {
  if (excess !== undefined) {
    throw invalid(`Cannot call ${target}: one JSON value is required, got ${quote(excess)} as well`)
  }
  try {
    JSON.parse(json)
  } catch (cause) {
    throw invalid(`Cannot call ${target}: JSON is required, got ${quote(json)}`, { cause })
  }
  return json
}

async function callFunction(access: GatewayAccess, target: string, json: string, timeoutMs: number): Promise<void> {
  const answer = await request(access, 'POST', `/rpc/${target}`, {
    body: new TextEncoder().encode(json),
    headers: { 'content-type': 'application/json', 'connect-timeout-ms': String(timeoutMs) },
  })
  process.stdout.write(`${JSON.stringify(answer, undefined, 2)}\n`)
}

async function callStream(access: GatewayAccess, target: string, json: string, timeoutMs: number): Promise<void> {
  const [service = '', method = ''] = target.split('/')
  const { send } = fetchTransport(access.url, { codec: 'json', headers: access.headers })
  using deadline = new Deadline(systemClock, timeoutMs)
  const response = await send({
    ...{ service, method, version: '', group: 'default', stream: true, idempotent: false, metadata: {} },
    ...{ timeoutMs, signal: deadline.signal, traceparent: newTrace() },
    payload: { codec: 'json', body: encodeUtf8(json) },
  })
  if (response.kind !== 'stream') throw invalid(`Cannot stream ${target}: it answered with one value`)
  for await (const item of response.payloads) process.stdout.write(`${JSON.stringify(decodePayload(item))}\n`)
}

interface ModelCall {
  version: string | undefined
  out: string | undefined
  json: boolean
  timeoutMs: number
}

async function callModel(access: GatewayAccess, name: string, given: string[], options: ModelCall): Promise<void> {
  const manifest = await findModel(access, name, options.version)
  const inputs: Record<string, Tensor> = {}
  for (const text of given) {
    const [, input = '', value = ''] = /^([^=]+)=(.*)$/s.exec(text) ?? []
    const spec = manifest.signature.inputs.find((one) => one.name === input)
    if (!spec) {
      const known = manifest.signature.inputs.map((one) => one.name).join(', ')
      throw invalid(`Cannot call "${name}": inputs must be given as NAME=VALUE with names ${known}, got "${text}"`)
    }
    inputs[input] = await readInput(spec, value)
  }
  const client = createClient(Inference, { gateway: access.url, key: access.key })
  let metadata: Metadata = {}
  const { outputs, version } = await client.infer(
    { model: name, version: options.version, inputs },
    { timeoutMs: options.timeoutMs, onMetadata: (received) => metadata = received },
  )
  if (options.json) process.stdout.write(`${JSON.stringify({ model: name, version, outputs })}\n`)
  else process.stdout.write(alignColumns(Object.entries(outputs).map(([output, tensor]) => describe(output, tensor))))
  if (options.out) await writePictures(options.out, outputs)
  if (!options.json) {
    process.stdout.write(
      `answered by ${metadata['shoal-worker']} on ${metadata['shoal-device']} (ms: ${stagesOf(metadata)})\n`,
    )
  }
}

/** @param version or an alias; any if none is named: they are expected to take the same inputs */
async function findModel(access: GatewayAccess, name: string, version: string | undefined): Promise<ModelManifest> {
  const { models, aliases } = await request<Listed>(access, 'GET', '/models')
  const versions = models.filter((model) => model.name === name)
  const cannot = (requirement: string) => new RpcError('not_found', `Cannot call ${quote(name)}: ${requirement}`)
  if (versions.length === 0) {
    const known = [...new Set(models.map((model) => model.name))].join(', ') || 'none'
    throw cannot(`the model must be one of ${known}, got ${quote(name)}`)
  }
  const named = aliases[name] ?? {}
  const wanted = version === undefined ? undefined : named[version] ?? version
  const manifest = versions.findLast((one) => wanted === undefined || wanted === 'latest' || one.version === wanted)
  if (!manifest) {
    const known = [...versions.map((one) => one.version), ...Object.keys(named), 'latest'].join(', ')
    throw cannot(`the version must be one of ${known}, got ${quote(version ?? '')}`)
  }
  return manifest
}

async function readInput(spec: TensorSpec, value: string): Promise<Tensor> {
  if (!value.startsWith('@')) return fromNested(spec, value)
  const file = value.slice(1)
  const bytes = await readFile(file).catch(() => {
    throw new RpcError('not_found', `Cannot read input "${spec.name}": a file is required, got no such file ${file}`)
  })
  return file.endsWith('.png') ? toTensor([await decodePng(bytes)]) : fromNested(spec, bytes.toString('utf8'), file)
}

function fromNested(spec: TensorSpec, text: string, file?: string): Tensor {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw invalid(
      `Cannot read input "${spec.name}": JSON is required (texts in quotes), got ${quote(text)}${
        file === undefined ? '' : ` in ${file}`
      }`,
      { cause },
    )
  }
  const shape: number[] = []
  for (let part = json; Array.isArray(part); part = part[0]) shape.push(part.length)
  try {
    return fromJsonValues(spec.dtype, shape, Array.isArray(json) ? json : [json])
  } catch (cause) {
    const reason = (cause as Error).message.replace(/^Cannot \w+ a \w+: /, '')
    throw invalid(`Cannot read input "${spec.name}": ${reason}`, { cause })
  }
}

const SHOWN_VALUES = 8

/** Name, type and the first values. */
function describe(name: string, tensor: Tensor): string[] {
  const values = toJsonValues(tensor)
  const more = values.length > SHOWN_VALUES ? `, … ${values.length - SHOWN_VALUES} more` : ''
  const show = (value: unknown) =>
    tensor.dtype === 'float32' && typeof value === 'number' ? shortFloat(value) : JSON.stringify(value)
  return [name, `${tensor.dtype}[${tensor.shape}]`, values.slice(0, SHOWN_VALUES).map(show).join(', ') + more]
}

async function writePictures(folder: string, outputs: Record<string, Tensor>): Promise<void> {
  await makeFolder(folder)
  let written = 0
  for (const [name, tensor] of Object.entries(outputs)) {
    const [, channels = 0] = tensor.shape
    if (tensor.dtype !== 'float32' || tensor.shape.length !== 4 || (channels !== 1 && channels !== 3)) continue
    // An output's name comes from the model: it must not choose the folder.
    const file = join(folder, `${name.replace(/[^A-Za-z0-9._-]/g, '_')}.png`)
    await writeFile(file, encodePng(toPicture(tensor)))
    process.stdout.write(`wrote ${file}\n`)
    written++
  }
  if (written === 0) process.stdout.write('wrote nothing: no output has a shape of pictures, [N,1,H,W] or [N,3,H,W]\n')
}
