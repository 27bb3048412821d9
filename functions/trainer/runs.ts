import { join } from 'node:path'
import { FileBlobStore } from '../../shared/models/file_blob_store.ts'
import type { ElectionStore } from '../../shared/stores/election_store.ts'
import { makeFolder } from '../../shared/stores/file_folder.ts'
import { redisElections } from '../../shared/stores/redis_election.ts'
import { redisFence } from '../../shared/stores/redis_fence.ts'
import { openSqliteElections } from '../../shared/stores/sqlite_election.ts'
import { openSqliteFence } from '../../shared/stores/sqlite_fence.ts'
import { createRunStore, type RunStore } from '../../shared/training/run_store.ts'
import type { GatewayAccess } from '../cli/command.ts'
import { openRedis } from '../gateway/stores.ts'
import { gatewayCheckpoints } from './gateway_checkpoints.ts'

export interface Runs {
  /** Where they are, for people to read. */
  description: string
  elections: ElectionStore
  store: RunStore
  close(): Promise<void>
}

/** A folder's runs: who leads them, and their checkpoints. Several processes of one machine may share the folder. */
export async function openRuns(folder: string): Promise<Runs> {
  await makeFolder(folder)
  const path = join(folder, 'runs.db')
  const elections = openSqliteElections(path, Date)
  const fence = openSqliteFence(path)
  return {
    description: folder,
    elections,
    store: createRunStore(new FileBlobStore(join(folder, 'checkpoints')), fence),
    close: async () => void await Promise.all([elections.close(), fence.close()]),
  }
}

/**
 * Runs that coordinators on several machines share: who leads them stands in Redis, checkpoints in the blob store of the
 * gateway that all of them name. A run's name is then one of the whole Redis.
 * @returns undefined where the environment names no Redis
 */
export async function openSharedRuns(
  env: Readonly<Record<string, string | undefined>>,
  access: GatewayAccess,
): Promise<Runs | undefined> {
  const shared = await openRedis(env)
  if (!shared) return undefined
  const { redis, description } = shared
  return {
    description: `${description}, checkpoints at ${access.url}`,
    elections: redisElections(redis),
    store: createRunStore(gatewayCheckpoints(access), redisFence(redis)),
    close: () => redis.quit(),
  }
}
