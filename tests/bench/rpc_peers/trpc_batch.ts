import { trpcPeer } from './trpc.ts'

export const peer = trpcPeer('batch')
