import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import type { ServiceContract } from '../../shared/rpc/contract.ts'
import { openApi } from '../../shared/rpc/openapi.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { type Command, parse } from './command.ts'

export const openapi: Command = {
  summary: 'prints the OpenAPI document of a module of contracts',
  help: `Prints the OpenAPI 3.1 document of all contracts that a module exports.

Usage: shoal openapi FILE [--title TEXT] [--server URL]

  FILE            a module, in TypeScript or JavaScript, that exports contracts (defineService); loading it runs it
  --title TEXT    the document's title (default: the names of the services)
  --server URL    where the services are called: a gateway

Example: shoal openapi functions/hello/contract.ts --server http://127.0.0.1:8787 > openapi.json
`,
  async run(args) {
    const { values, positionals: [file] } = parse(args, {
      title: { type: 'string' },
      server: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    }, 1)
    if (!file) throw invalid('Cannot describe contracts: a FILE is required, got none')
    const contracts = Object.values(await load(file)).filter(isContract)
    if (contracts.length === 0) {
      throw invalid(`Cannot describe contracts: ${file} must export some (defineService), got none`)
    }
    const title = values.title ?? contracts.map(({ name }) => name).join(', ')
    const [{ version }] = contracts as [ServiceContract]
    process.stdout.write(
      `${JSON.stringify(openApi(contracts, { title, version, server: values.server }), undefined, 2)}\n`,
    )
  },
}

async function load(file: string): Promise<Record<string, unknown>> {
  if (!existsSync(file)) throw invalid(`Cannot load ${file}: a module is required, got no such file`)
  try {
    return await import(pathToFileURL(resolve(file)).href)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new RpcError('invalid_argument', `Cannot load ${file}: ${reason}`, { cause })
  }
}

function isContract(exported: unknown): exported is ServiceContract {
  const { name, version, methods } = (exported ?? {}) as Partial<ServiceContract>
  return typeof name === 'string' && typeof version === 'string' && typeof methods === 'object' && methods !== null
}
