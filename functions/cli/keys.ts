import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { createKey, type Scope, SCOPES } from '../../shared/stores/keys.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { hostKeys, saveKeys } from '../gateway/host_keys.ts'
import { type Command, parse } from './command.ts'
import { alignColumns } from './text.ts'

const HELP =
  `Manages the API keys of the gateway whose data folder this is. Keys are kept as hashes; a new one is shown once.

Usage: shoal keys create --scope ${SCOPES.join('|')} [--scope …]
       shoal keys list
       shoal keys remove ID

  --data-dir DIR   the gateway's data folder (default ${DEFAULTS.dataDir})

As soon as there is a key, every call needs one; a running gateway without keys must be started again.
On Cloudflare, store what \`shoal keys list --json\` prints as the secret SHOAL_KEYS.
`

export const keys: Command = {
  summary: 'makes, lists and removes API keys',
  help: HELP,
  async run(args) {
    const { values, positionals: [action = 'list', id] } = parse(args, {
      scope: { type: 'string', multiple: true },
      'data-dir': { type: 'string', default: DEFAULTS.dataDir },
      json: { type: 'boolean', default: false },
    }, 2)
    const dataDir = values['data-dir']
    const records = await hostKeys({}, dataDir).load()
    if (action === 'create') {
      const { text, record } = await createKey(readScopes(values.scope), systemClock)
      await saveKeys(dataDir, [...records, record])
      return void process.stdout.write(`${text}\n`)
    }
    if (action === 'remove') {
      if (!records.some((record) => record.id === id)) {
        throw new RpcError(
          'not_found',
          `Cannot remove the key: an id from "shoal keys list" is required, got ${id ?? 'none'}`,
        )
      }
      return await saveKeys(dataDir, records.filter((record) => record.id !== id))
    }
    if (action !== 'list') {
      throw invalid(`Cannot run "keys ${action}": create, list or remove is required, got "${action}"`)
    }
    if (values.json) return void process.stdout.write(`${JSON.stringify(records)}\n`)
    if (records.length === 0) {
      return void process.stdout.write('no keys: the gateway serves loopback alone, without one\n')
    }
    const rows = records.map((record) => [record.id, record.createdAt, record.scopes.join(',')])
    process.stdout.write(alignColumns([['id', 'created', 'scopes'], ...rows]))
  },
}

function readScopes(given: string[] | undefined): Scope[] {
  const scopes = (given ?? []).flatMap((text) => text.split(','))
  const unknown = scopes.find((scope) => !SCOPES.some((known) => known === scope))
  if (scopes.length === 0 || unknown !== undefined) {
    throw invalid(`Cannot create a key: --scope must be one of ${SCOPES.join(', ')}, got ${unknown ?? 'none'}`)
  }
  return scopes as Scope[]
}
