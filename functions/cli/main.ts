import process from 'node:process'
import { RpcError } from '../../shared/wire/errors.ts'
import { call } from './call.ts'
import type { Command } from './command.ts'
import { keys } from './keys.ts'
import { models } from './models.ts'
import { start } from './start.ts'
import { worker } from './worker.ts'

const COMMANDS: Readonly<Record<string, Command>> = { start, worker, models, call, keys }

const HELP = `shoal: GPU functions that any GPU with a browser tab can serve

Usage: shoal COMMAND [options]      shoal COMMAND --help

${Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`).join('\n')}
`

async function main(args: string[]): Promise<void> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    return void process.stdout.write(HELP)
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) {
    const known = Object.keys(COMMANDS).join(', ')
    throw new RpcError('invalid_argument', `Cannot run "${name}": the command must be one of ${known}, got "${name}"`)
  }
  if (rest.includes('--help') || rest.includes('-h')) return void process.stdout.write(command.help)
  await command.run(rest)
}

function reasonOf(thrown: unknown, command: string | undefined): string {
  if (thrown instanceof RpcError) return thrown.message
  return `Cannot run "${command}": ${thrown instanceof Error ? thrown.message : thrown}`
}

main(process.argv.slice(2)).catch((thrown) => {
  // One line for people; the stack only for those who ask for it.
  console.error(`shoal: ${reasonOf(thrown, process.argv[2]).replace(/\s*\n\s*/g, ' ')}`)
  if (process.env.SHOAL_DEBUG) console.error(thrown)
  process.exit(1)
})
