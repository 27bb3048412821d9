import { build } from 'esbuild'

/** How workerd chooses among what a package exports. */
export const WORKERD = ['workerd', 'worker', 'browser']

/**
 * A module and all that it imports, as one ES module for a runtime that is not Node.
 * @param entry a path
 * @param conditions by which packages' exports are chosen
 * @param external what the runtime itself offers; anything else of Node's is refused
 */
export async function bundleModule(entry: string, conditions: string[], external: string[] = []): Promise<string> {
  const { outputFiles: [file] } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    target: 'esnext',
    mainFields: ['module', 'main'],
    conditions,
    external,
    logLevel: 'silent',
  })
  if (!file) throw new Error(`Cannot bundle ${entry}: esbuild must write one file, got none`)
  return file.text
}
