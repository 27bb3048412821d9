import { encodeUtf8, toHex } from '../../shared/base/bytes.ts'

/**
 * The token that gateways present to a host with an address of its own, which learns it when it registers. Derived
 * from the secret that gateways share and from the host's address: nothing is stored, and one host's token is no good at
 * another's.
 * @returns 64 hex digits, HMAC-SHA-256
 */
export async function hostToken(secret: string, url: string): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', encodeUtf8(secret), algorithm, false, ['sign'])
  return toHex(new Uint8Array(await crypto.subtle.sign('HMAC', key, encodeUtf8(`shoal host ${url}`))))
}
