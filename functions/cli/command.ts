import { parseArgs, type ParseArgsConfig } from 'node:util'
import { invalid } from '../../shared/wire/errors.ts'
import { nearest } from './nearest.ts'

/** One command of the CLI: its help, its options, and what it does. */
export interface Command {
  /** One line for the list of commands. */
  summary: string
  /** All that `--help` prints. */
  help: string
  run(args: string[]): Promise<void>
}

type Options = NonNullable<ParseArgsConfig['options']>

/**
 * Parses a command's arguments.
 * @param maxPositionals how many it takes beside its options
 * @throws RpcError `invalid_argument` for what the command does not know
 */
export function parse<const O extends Options>(args: string[], options: O, maxPositionals = Infinity) {
  try {
    const parsed = parseArgs({ args, options, allowPositionals: true, strict: true })
    const excess = parsed.positionals[maxPositionals]
    if (excess !== undefined) throw new Error(`Unexpected argument '${excess}'`)
    return parsed
  } catch (cause) {
    // Node explains on the lines and in the sentences that follow.
    const [reason = ''] = (cause as Error).message.split(/\.\s/)
    const [, wrong] = /Unknown option '--([\w-]+)'/.exec(reason) ?? []
    const meant = wrong === undefined ? undefined : nearest(wrong, Object.keys(options))
    throw invalid(`Cannot read the arguments: ${reason} (${meant ? `did you mean --${meant}? ` : ''}see --help)`, {
      cause,
    })
  }
}

/** A whole number from an option's text. */
export function wholeNumber(name: string, text: string, minimum: number, maximum: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= minimum && value <= maximum) return value
  throw invalid(`Cannot read --${name}: a whole number from ${minimum} to ${maximum} is required, got "${text}"`)
}

const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }

/** Bytes from an option's text: 512MiB, 4GiB, 4G. */
export function byteSize(name: string, text: string): number {
  const [, count = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([KMG])(?:iB)?$/i.exec(text) ?? []
  const bytes = Math.round(Number(count) * (UNITS[unit.toUpperCase()] ?? 0))
  if (bytes > 0 && bytes <= Number.MAX_SAFE_INTEGER) return bytes
  throw invalid(`Cannot read --${name}: a size such as 512MiB or 4GiB is required, got "${text}"`)
}

/** Options of every command that talks to a gateway. */
export const GATEWAY_OPTIONS = {
  gateway: { type: 'string' },
  key: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const

/** @param column where the other options of the command have their words */
export function gatewayHelp(column = 18, otherwise = 'or http://127.0.0.1:8787'): string {
  const gateway = `the gateway (default $SHOAL_GATEWAY${otherwise.startsWith(',') ? '' : ' '}${otherwise})`
  const key = 'an API key (default $SHOAL_KEY); loopback without keys needs none'
  return `${'  --gateway URL'.padEnd(column)}${gateway}\n${'  --key KEY'.padEnd(column)}${key}`
}

export interface GatewayAccess {
  url: string
  key: string | undefined
  headers: Record<string, string>
}

/** Where the gateway is and how to be let in, from options or environment. */
export function gatewayAccess(values: { gateway?: string; key?: string }, env: NodeJS.ProcessEnv): GatewayAccess {
  const url = (values.gateway ?? env.SHOAL_GATEWAY ?? 'http://127.0.0.1:8787').replace(/\/+$/, '')
  if (!/^https?:/.test(url) || !URL.canParse(url)) {
    throw invalid(`Cannot reach the gateway: --gateway must be an http(s) URL, got "${url}"`)
  }
  const key = values.key ?? env.SHOAL_KEY
  return { url, key, headers: key ? { authorization: `Bearer ${key}` } : {} }
}
