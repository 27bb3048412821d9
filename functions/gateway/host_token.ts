import { encodeUtf8, toHex } from '../../shared/base/bytes.ts'

/** Hosts are given inputs, functions only learn who calls: a function's token must be no good at a host of its address. */
export type HostKind = 'host' | 'function'

/**
 * The token that gateways present to a host or function with an address of its own, which learns it when it registers.
 * Derived from the secret that gateways share and from the address: nothing is stored, and one host's token is no good at
 * another's.
 * @returns 64 hex digits, HMAC-SHA-256
 */
export async function hostToken(secret: string, url: string, kind: HostKind): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', encodeUtf8(secret), algorithm, false, ['sign'])
  return toHex(new Uint8Array(await crypto.subtle.sign('HMAC', key, encodeUtf8(`shoal ${kind} ${url}`))))
}
