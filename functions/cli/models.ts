import { readFile, stat } from 'node:fs/promises'
import process from 'node:process'
import { LIMITS } from '../../shared/base/limits.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'
import { type Command, GATEWAY_HELP, GATEWAY_OPTIONS, gatewayAccess, parse } from './command.ts'
import { NEW_HELP, newModel } from './models_new.ts'
import { request } from './request.ts'

const HELP = `Pushes models to a gateway, lists them, and makes new ones to train.

Usage: shoal models push FILE.onnx --name NAME [--version 1] [--labels a,b,c]
       shoal models list
${NEW_HELP}

  --name NAME     letters, digits, '.', '_' and '-'
  --version V     a whole number or semver; a version never changes once pushed (default 1)
  --labels LIST   names of what the model tells apart, kept with it
  --json          prints the manifest(s) as JSON
${GATEWAY_HELP}
`

export const models: Command = {
  summary: 'pushes ONNX models, lists them, makes new ones',
  help: HELP,
  async run(args) {
    if (args[0] === 'new') return await newModel(args.slice(1))
    const { values, positionals: [action = 'list', file] } = parse(args, {
      ...GATEWAY_OPTIONS,
      name: { type: 'string' },
      version: { type: 'string', default: '1' },
      labels: { type: 'string' },
      json: { type: 'boolean', default: false },
    }, 2)
    const access = gatewayAccess(values, process.env)
    if (action === 'list') {
      const { models } = await request<{ models: ModelManifest[] }>(access, 'GET', '/models')
      if (values.json) return void process.stdout.write(`${JSON.stringify(models, undefined, 2)}\n`)
      return void process.stdout.write(models.length === 0 ? 'no models yet\n' : models.map(oneLine).join(''))
    }
    if (action !== 'push') {
      throw invalid(`Cannot run "models ${action}": push, list or new is required, got "${action}"`)
    }
    if (!file) throw invalid('Cannot push: a FILE.onnx is required, got none')
    if (!values.name) throw invalid('Cannot push: --name is required, got none')
    const manifest = await push(access, file, values.name, values.version, values.labels)
    process.stdout.write(values.json ? `${JSON.stringify(manifest, undefined, 2)}\n` : describe(manifest))
  },
}

async function push(
  access: ReturnType<typeof gatewayAccess>,
  file: string,
  name: string,
  version: string,
  labels: string | undefined,
) {
  const found = await stat(file).catch(() => undefined)
  if (!found?.isFile()) {
    throw new RpcError(
      'not_found',
      `Cannot push ${file}: an ONNX file is required, got ${found ? 'a folder' : 'no such file'}`,
    )
  }
  if (found.size > LIMITS.maxModelBytes) {
    throw invalid(`Cannot push ${file}: at most ${LIMITS.maxModelBytes} bytes are accepted, got ${found.size}`)
  }
  const path = `/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`
  const headers: Record<string, string> = labels === undefined
    ? {}
    : { 'shoal-labels': labels.split(',').map(encodeURIComponent).join(',') }
  return await request<ModelManifest>(access, 'PUT', path, { body: await readFile(file), headers })
}

function describe(manifest: ModelManifest): string {
  const { name, version, sha256, bytes, signature } = manifest
  return `pushed ${name} version ${version} (${bytes} bytes, opset ${manifest.opset})
  inputs   ${signature.inputs.map(spec).join('\n           ')}
  outputs  ${signature.outputs.map(spec).join('\n           ')}
  batches  ${signature.batchable ? 'calls may be joined along axis 0' : 'each call runs alone'}
  sha256   ${sha256}
`
}

function oneLine({ name, version, signature, bytes }: ModelManifest): string {
  return `${name}  ${version}  ${bytes} bytes  ${signature.inputs.map(spec).join(', ')} → ${
    signature.outputs.map(spec).join(', ')
  }\n`
}

/** Such as `x float32[N,784]`. */
function spec({ name, dtype, shape, axes }: TensorSpec): string {
  return `${name} ${dtype}[${shape.map((size, i) => size === -1 ? axes[i] || '?' : size).join(',')}]`
}
