import { readAll } from '../../shared/base/bytes.ts'
import type { BlobStore } from '../../shared/models/blob_store.ts'
import type { LeaseStore } from '../../shared/stores/lease_store.ts'

/**
 * Cloudflare Workers end all that a request began when its answer is sent or its caller has gone. Callers who wait for one
 * read together would then wait for ever, for those who began it had left. So such reads are kept alive to their end.
 */
export type KeepAlive = (work: Promise<unknown>) => void

/** Objects up to this size are read whole: they are manifests, which several requests may wait for. Models are streamed. */
const MAX_WHOLE_BYTES = 1 << 20

export function outlivingLeases(leases: LeaseStore, keepAlive: KeepAlive): LeaseStore {
  return {
    renew: (instances) => leases.renew(instances),
    leave: (service, id, incarnation) => leases.leave(service, id, incarnation),
    list: (service, sinceRevision) => outlive(leases.list(service, sinceRevision), keepAlive),
    services: () => leases.services(),
    close: () => leases.close(),
  }
}

export function outlivingBlobs(blobs: BlobStore, keepAlive: KeepAlive): BlobStore {
  return {
    put: (key, bytes) => blobs.put(key, bytes),
    putIfAbsent: (key, bytes) => blobs.putIfAbsent(key, bytes),
    // Parts are read by one request alone.
    open: (key, range) => range ? blobs.open(key, range) : outlive(openWhole(blobs, key), keepAlive),
    list: (prefix) => outlive(blobs.list(prefix), keepAlive),
    delete: (key) => blobs.delete(key),
  }
}

function outlive<T>(work: Promise<T>, keepAlive: KeepAlive): Promise<T> {
  keepAlive(work.catch(() => {}))
  return work
}

async function openWhole(blobs: BlobStore, key: string): ReturnType<BlobStore['open']> {
  const found = await blobs.open(key)
  if (!found || found.size > MAX_WHOLE_BYTES) return found
  const bytes = await readAll(found.stream, MAX_WHOLE_BYTES)
  return bytes && { size: bytes.byteLength, stream: new Blob([bytes]).stream() }
}
