import { type Bytes, readAll } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import type { BlobStore } from '../models/blob_store.ts'
import type { FencedStore } from '../stores/fence.ts'
import { RpcError } from '../wire/errors.ts'

/**
 * Where a run's checkpoints are kept. The epoch is a fencing token: it is checked here, at what is written, since a
 * coordinator that was paused does not know that it has lost its lease.
 */
export interface RunStore {
  /** From now on, nothing of an earlier epoch is taken. @throws RpcError `aborted` if a later one was here */
  admit(run: string, epoch: number): Promise<void>
  /**
   * Replaces the run's checkpoint, whole or not at all.
   * @throws RpcError `aborted` if a later epoch was here; nothing has changed then
   */
  commit(run: string, epoch: number, step: number, checkpoint: Bytes): Promise<void>
  /** The last checkpoint that was committed. */
  load(run: string): Promise<Bytes | undefined>
}

/** What a run store needs of a place for blobs: a folder, a bucket, or a gateway in front of one. */
export type CheckpointBlobs = Pick<BlobStore, 'put' | 'open' | 'delete'>

/** Checkpoints as blobs, and behind a fence the key of the one that counts. */
export function createRunStore(blobs: CheckpointBlobs, fence: FencedStore): RunStore {
  const keyOf = async (run: string) => (await fence.get(run))?.value
  return {
    admit: (run, epoch) => fence.admit(run, epoch),
    async commit(run, epoch, step, checkpoint) {
      const old = await keyOf(run)
      const key = `${run}/${step}-${epoch}.safetensors`
      await blobs.put(key, checkpoint)
      try {
        await fence.put(run, epoch, key)
      } catch (thrown) {
        // A commit whose answer was lost may have been made: only one that was refused leaves nothing behind.
        if (RpcError.from(thrown).code === 'aborted') await blobs.delete(key)
        throw thrown
      }
      if (old !== undefined && old !== key) await blobs.delete(old)
    },
    async load(run) {
      for (let key = await keyOf(run); key !== undefined;) {
        const found = await blobs.open(key)
        const bytes = found && await readAll(found.stream, LIMITS.maxCheckpointBytes)
        if (bytes) return bytes
        // Replaced between the two reads, or gone.
        const now = await keyOf(run)
        if (now === key) {
          throw new RpcError('data_loss', `Cannot load run "${run}": its checkpoint ${key} must be there, got none`)
        }
        key = now
      }
      return undefined
    },
  }
}
