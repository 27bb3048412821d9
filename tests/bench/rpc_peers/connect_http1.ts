import { connectPeer } from './connect.ts'

export const peer = connectPeer('1.1')
