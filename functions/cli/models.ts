import process from 'node:process'
import { encodeUtf8 } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { invalid } from '../../shared/wire/errors.ts'
import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'
import {
  type Command,
  GATEWAY_OPTIONS,
  type GatewayAccess,
  gatewayAccess,
  gatewayHelp,
  parse,
  wholeNumber,
} from './command.ts'
import { prepareModel } from './model_upload.ts'
import { NEW_HELP, newModel } from './models_new.ts'
import { request } from './request.ts'
import { alignColumns } from './text.ts'

const HELP = `Pushes models to a gateway, lists them, and makes new ones to train.

Usage: shoal models push FILE.onnx --name NAME [--version 1] [--labels a,b,c] [--public] [--cache SECONDS]
                                               [--warm-up 1,8,64]
       shoal models list
       shoal models alias NAME ALIAS VERSION|none     such as: shoal models alias digits stable 2
       shoal models delete NAME [--version V]         one version, or all of it
${NEW_HELP}

Weights that the model has in other files (external data) are found beside it and go with it, models of more than 100 MB go
in pieces, and what the gateway has already is not sent again.

  --name NAME     letters, digits, '.', '_' and '-'
  --version V     a whole number or semver; a version never changes once pushed (default 1)
  --labels LIST   names of what the model tells apart, kept with it
  --public        volunteers may compute it: they see its weights and what it is asked
  --cache S       keeps its answers for S seconds, for callers who ask the same again
  --warm-up LIST  sizes of runs that a worker makes on zeros when it has loaded the model, so that no call's is the first
  --json          prints the manifest(s) as JSON
${gatewayHelp()}
`

export const models: Command = {
  summary: 'pushes ONNX models, lists, names and deletes them, makes new ones',
  help: HELP,
  async run(args) {
    if (args[0] === 'new') return await newModel(args.slice(1))
    const { values, positionals: [action = 'list', ...rest] } = parse(args, {
      ...GATEWAY_OPTIONS,
      name: { type: 'string' },
      version: { type: 'string' },
      labels: { type: 'string' },
      public: { type: 'boolean', default: false },
      cache: { type: 'string' },
      'warm-up': { type: 'string' },
      json: { type: 'boolean', default: false },
    }, MOST_POSITIONALS[args[0] ?? ''] ?? 2)
    const [file] = rest
    const access = gatewayAccess(values, process.env)
    if (action === 'list') {
      const { models, aliases } = await request<Listed>(access, 'GET', '/models')
      if (values.json) return void process.stdout.write(`${JSON.stringify(models, undefined, 2)}\n`)
      return void process.stdout.write(
        models.length === 0
          ? 'no models yet: shoal models push FILE.onnx --name NAME\n'
          : alignColumns([HEAD, ...models.map((one) => rowOf(one, aliases))]),
      )
    }
    if (action === 'alias') return await setAlias(access, rest)
    if (action === 'delete') return await remove(access, file, values.version)
    if (action !== 'push') {
      throw invalid(`Cannot run "models ${action}": push, list, alias, delete or new is required, got "${action}"`)
    }
    if (!file) throw invalid('Cannot push: a FILE.onnx is required, got none')
    if (!values.name) throw invalid('Cannot push: --name is required, got none')
    const manifest = await push(access, file, { ...values, name: values.name, version: values.version ?? '1' })
    process.stdout.write(values.json ? `${JSON.stringify(manifest, undefined, 2)}\n` : describe(manifest))
  },
}

/** How many arguments an action takes, itself included. */
const MOST_POSITIONALS: Readonly<Record<string, number>> = { alias: 4 }

export interface Listed {
  models: ModelManifest[]
  /** By model, then by alias. */
  aliases: Record<string, Record<string, string>>
}

interface PushOptions {
  name: string
  version: string
  labels?: string
  public: boolean
  cache?: string
  'warm-up'?: string
}

async function push(
  access: GatewayAccess,
  file: string,
  { name, version, labels, cache, 'warm-up': warmUp, public: isPublic }: PushOptions,
): Promise<ModelManifest> {
  const options = {
    ...(isPublic && { visibility: 'public' }),
    ...(warmUp !== undefined && {
      warmUp: warmUp.split(',').map((size) => wholeNumber('warm-up', size, 1, LIMITS.maxBatch)),
    }),
    ...(cache !== undefined && {
      cache: {
        ttlMs: wholeNumber('cache', cache, 1, LIMITS.maxResultTtlMs / 1000) * 1000,
        maxBytes: LIMITS.maxResultCacheBytes,
      },
    }),
  }
  const headers: Record<string, string> = {
    'shoal-options': encodeURIComponent(JSON.stringify(options)),
    ...(labels !== undefined && { 'shoal-labels': labels.split(',').map(encodeURIComponent).join(',') }),
  }
  return await request<ModelManifest>(access, 'PUT', pathOf(name, version), {
    body: await prepareModel(access, file),
    headers,
  })
}

async function setAlias(access: GatewayAccess, [name, alias, version]: string[]): Promise<void> {
  if (!name || !alias || !version) {
    throw invalid('Cannot name a version: NAME ALIAS VERSION are required, such as digits stable 2')
  }
  const path = `/models/${encodeURIComponent(name)}/aliases/${encodeURIComponent(alias)}`
  if (version === 'none') await request(access, 'DELETE', path)
  else await request(access, 'PUT', path, { body: encodeUtf8(JSON.stringify({ version })) })
  process.stdout.write(version === 'none' ? `${name} ${alias} removed\n` : `${name} ${alias} → ${version}\n`)
}

async function remove(access: GatewayAccess, name: string | undefined, version: string | undefined): Promise<void> {
  if (!name) throw invalid('Cannot delete: a model NAME is required, got none')
  const path = version === undefined ? `/models/${encodeURIComponent(name)}` : pathOf(name, version)
  const { deleted } = await request<{ deleted: ModelManifest[] }>(access, 'DELETE', path)
  process.stdout.write(deleted.map((one) => `deleted ${one.name} version ${one.version}\n`).join(''))
}

function pathOf(name: string, version: string): string {
  return `/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`
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

const HEAD = ['model', 'version', 'alias', 'bytes', 'signature']

function rowOf({ name, version, signature, bytes }: ModelManifest, aliases: Listed['aliases']): string[] {
  const named = Object.entries(aliases[name] ?? {}).filter(([, one]) => one === version).map(([alias]) => alias)
  const takes = `${signature.inputs.map(spec).join(', ')} → ${signature.outputs.map(spec).join(', ')}`
  return [name, version, named.join(', ') || '-', String(bytes), takes]
}

/** Such as `x float32[N,784]`. */
function spec({ name, dtype, shape, axes }: TensorSpec): string {
  return `${name} ${dtype}[${shape.map((size, i) => size === -1 ? axes[i] || '?' : size).join(',')}]`
}
