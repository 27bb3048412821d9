import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { RpcError } from '../wire/errors.ts'

/**
 * Makes a folder and those above it that are missing; one that is there already will do. Not by Node's own `recursive`,
 * which never ends where the folder above is there and refuses all the same, as /proc does (ENOENT for what is missing and
 * for what cannot be made).
 * @throws RpcError `failed_precondition` there; else the system's error (EEXIST or ENOTDIR where a file is in the way)
 */
export async function makeFolder(path: string): Promise<void> {
  if (await tryToMake(path)) return
  const above = dirname(path)
  if (above !== path) await makeFolder(above)
  if (await tryToMake(path)) return
  const requirement = `${above} must take new folders, got one that takes none`
  throw new RpcError('failed_precondition', `Cannot make the folder ${path}: ${requirement}`)
}

/** @returns false if the system says that something above it is missing */
async function tryToMake(path: string): Promise<boolean> {
  try {
    await mkdir(path)
    return true
  } catch (error) {
    // Of a folder that is there some systems say first that nothing can be made beside it.
    if (await isFolder(path)) return true
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error
    return false
  }
}

function isFolder(path: string): Promise<boolean> {
  return stat(path).then((found) => found.isDirectory(), () => false)
}
