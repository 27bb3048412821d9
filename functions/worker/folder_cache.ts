import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { newId } from '../../shared/base/random.ts'
import { makeFolder } from '../../shared/stores/file_folder.ts'
import type { ModelCache } from '../../shared/worker/model_source.ts'

/** Drafts older than this were left by a process that was killed: a file is written in less. */
const STALE_MS = 3_600_000

/**
 * Model files by hash, which several workers of one machine may share. Those that were not used for longest give way when
 * there are too many bytes. What is read back is checked by whoever asked, so a broken file is only fetched again.
 */
export function folderCache(folder: string, maxBytes: number = DEFAULTS.modelCacheBytes): ModelCache {
  return {
    async get(sha256) {
      const path = join(folder, sha256)
      const bytes = await readFile(path)
      const now = new Date()
      await utimes(path, now, now).catch(() => {})
      return new Uint8Array(bytes)
    },
    async put(sha256, bytes) {
      await makeFolder(folder)
      const draft = join(folder, `.${sha256}.${newId('draft')}`)
      await writeFile(draft, bytes)
      await rename(draft, join(folder, sha256))
      await dropOldest(folder, maxBytes, sha256)
    },
  }
}

/** @param kept the one that was just put there, which stays whatever its size */
async function dropOldest(folder: string, maxBytes: number, kept: string): Promise<void> {
  const files = await Promise.all((await readdir(folder)).map(async (name) => {
    // Another worker may drop it at the same moment.
    const found = await stat(join(folder, name)).catch(() => undefined)
    return { name, bytes: found?.size ?? 0, usedMs: found?.mtimeMs ?? 0 }
  }))
  let total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const nowMs = Date.now()
  for (const { name, bytes, usedMs } of files.sort((a, b) => a.usedMs - b.usedMs)) {
    const isDraft = name.startsWith('.')
    if (name === kept || (isDraft ? nowMs - usedMs < STALE_MS : total <= maxBytes)) continue
    await rm(join(folder, name), { force: true })
    total -= bytes
  }
}
