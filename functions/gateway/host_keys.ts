import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from '../../shared/base/bytes.ts'
import { makeFolder } from '../../shared/stores/file_folder.ts'
import { type KeyRecord, type KeySource, parseKeys } from '../../shared/stores/keys.ts'

type Env = Readonly<Record<string, string | undefined>>

/** Keys from the variable SHOAL_KEYS if it is set, else from keys.json in the data folder. */
export function hostKeys(env: Env, dataDir: string): KeySource {
  return {
    async load() {
      if (env.SHOAL_KEYS) return parseKeys(env.SHOAL_KEYS)
      const text = await readIfThere(join(dataDir, 'keys.json'))
      return text === undefined ? [] : parseKeys(text)
    },
  }
}

/** Replaces keys.json, readable by its owner alone. */
export async function saveKeys(dataDir: string, records: readonly KeyRecord[]): Promise<void> {
  await makeFolder(dataDir)
  await writeFile(join(dataDir, 'keys.json'), JSON.stringify(records, undefined, 2) + '\n', { mode: 0o600 })
}

/**
 * The secret that signs enrolment tokens: SHOAL_SECRET, which gateways that share relays must share, or one made for
 * this data folder.
 */
export async function hostSecret(env: Env, dataDir: string): Promise<string> {
  if (env.SHOAL_SECRET) return env.SHOAL_SECRET
  await makeFolder(dataDir)
  const path = join(dataDir, 'secret')
  const fresh = toHex(crypto.getRandomValues(new Uint8Array(32)))
  // Only the first of several processes writes; the others read what it wrote.
  await writeFile(path, fresh, { mode: 0o600, flag: 'wx' }).catch((error) => {
    if (error.code !== 'EEXIST') throw error
  })
  return (await readFile(path, 'utf8')).trim()
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined
    throw error
  }
}
