import './compile_cache.ts'
import '../node_heap.ts'
import process from 'node:process'
import { lineOf, runCommandLine } from './commands.ts'

const args = process.argv.slice(2)
runCommandLine(args).catch((thrown) => {
  console.error(lineOf(thrown, args))
  // The stack only for those who ask for it.
  if (process.env.SHOAL_DEBUG) console.error(thrown)
  process.exit(1)
})
