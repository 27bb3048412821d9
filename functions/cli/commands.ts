import process from 'node:process'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { Command } from './command.ts'
import { VERSION } from '../operations/version.ts'
import { nearest } from './nearest.ts'
import { quote, wordSystemError } from './text.ts'

/** A command's code is loaded when it is asked for: most need little of what others need. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  start: async () => (await import('./start.ts')).start,
  worker: async () => (await import('./worker.ts')).worker,
  models: async () => (await import('./models.ts')).models,
  call: async () => (await import('./call.ts')).call,
  jobs: async () => (await import('./jobs.ts')).jobs,
  train: async () => (await import('./train.ts')).train,
  keys: async () => (await import('./keys.ts')).keys,
  services: async () => (await import('./services.ts')).services,
  doctor: async () => (await import('./doctor.ts')).doctor,
  openapi: async () => (await import('./openapi.ts')).openapi,
}

/** Runs `shoal ARGS`. @throws whatever the command throws; `lineOf` words it */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    return void process.stdout.write(await help())
  }
  if (name === '--version' || name === '-v') return void process.stdout.write(`shoal ${VERSION}\n`)
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!load) {
    const known = Object.keys(COMMANDS).join(', ')
    const meant = nearest(name, Object.keys(COMMANDS))
    throw invalid(
      `Cannot run ${quote(name)}: the command must be one of ${known}, got ${quote(name)}${
        meant ? ` (did you mean ${meant}?)` : ''
      }`,
    )
  }
  const command = await load()
  if (rest.includes('--help') || rest.includes('-h')) return void process.stdout.write(command.help)
  await command.run(rest)
}

/** What went wrong, in one line for people. */
export function lineOf(thrown: unknown, args: readonly string[]): string {
  const reason = thrown instanceof Error ? thrown.message : String(thrown)
  const line = thrown instanceof RpcError ? reason : wordSystemError(thrown) ?? `Cannot run "${args[0]}": ${reason}`
  return `shoal: ${line.replace(/\s*\n\s*/g, ' ')}`
}

async function help(): Promise<string> {
  const lines = await Promise.all(
    Object.entries(COMMANDS).map(async ([name, load]) => `  ${name.padEnd(8)} ${(await load()).summary}`),
  )
  return `shoal: GPU functions that any GPU with a browser tab can serve

Usage: shoal COMMAND [options]      shoal COMMAND --help      shoal --version

${lines.join('\n')}

New here? npx shoal start, then open the address that it prints.
`
}
