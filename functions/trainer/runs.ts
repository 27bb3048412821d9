import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { FileBlobStore } from '../../shared/models/file_blob_store.ts'
import type { ElectionStore } from '../../shared/stores/election_store.ts'
import { openSqliteElections } from '../../shared/stores/sqlite_election.ts'
import { openSqliteFence } from '../../shared/stores/sqlite_fence.ts'
import { createRunStore, type RunStore } from '../../shared/training/run_store.ts'

export interface Runs {
  elections: ElectionStore
  store: RunStore
  close(): Promise<void>
}

/** A folder's runs: who leads them, and their checkpoints. Several processes of one machine may share the folder. */
export function openRuns(folder: string): Runs {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'runs.db')
  const elections = openSqliteElections(path, Date)
  const fence = openSqliteFence(path)
  return {
    elections,
    store: createRunStore(new FileBlobStore(join(folder, 'checkpoints')), fence),
    close: async () => void await Promise.all([elections.close(), fence.close()]),
  }
}
