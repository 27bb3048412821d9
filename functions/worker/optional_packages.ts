import { createRequire } from 'node:module'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** Runtimes that Shoal uses where they are installed and does not bring: together they take 420 MB. */
export type OptionalPackage = 'webgpu' | 'onnxruntime-node'

/** How to get one. Its binaries for the CPU come with it; its install script would look for more. */
export const INSTALL_HINTS: Readonly<Record<OptionalPackage, string>> = {
  webgpu: 'npm install webgpu',
  'onnxruntime-node': 'ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node',
}

/**
 * Finds an optional package: in $SHOAL_PACKAGES (a folder that has node_modules) if that is set, else from the current
 * folder up, else beside Shoal.
 * @returns the URL of its entry; undefined if it is not installed
 */
export function findPackage(
  name: OptionalPackage,
  folder: string | undefined = process.env.SHOAL_PACKAGES,
): string | undefined {
  for (const from of folder ? [folder] : [process.cwd(), fileURLToPath(new URL('.', import.meta.url))]) {
    try {
      return pathToFileURL(createRequire(join(from, 'package.json')).resolve(name)).href
    } catch {
      // Not installed here.
    }
  }
  return undefined
}
