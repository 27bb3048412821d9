import module from 'node:module'

/**
 * What Node has compiled, and stripped of its types, it keeps for the next process in the folder for temporary files:
 * commands then start in half the time. Import it before what is loaded when asked for. Deno keeps such a cache by itself.
 */
module.enableCompileCache?.()
