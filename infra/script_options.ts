import process from 'node:process'
import { parse } from '../functions/cli/command.ts'

type Options = Parameters<typeof parse>[1]

/** Options of a script of the repository. `--help` prints how it is used, and a mistake what is wrong: both end it. */
export function scriptOptions<const O extends Options>(usage: string, options: O, maxPositionals = 0) {
  const args = process.argv.slice(2)
  if (args.includes('--help') || args.includes('-h')) {
    console.log(usage)
    process.exit(0)
  }
  try {
    return parse<O>(args, options, maxPositionals)
  } catch (thrown) {
    console.error((thrown as Error).message)
    process.exit(1)
  }
}
