import { encodeUtf8, toHex } from '../../shared/base/bytes.ts'

/** Hosts are given inputs, functions only learn who calls: a function's token must be no good at a host of its address. */
export type HostKind = 'host' | 'function'

/**
 * The token that gateways present to a host or function with an address of its own, which learns it when it registers.
 * Derived from the secret that gateways share, the address and the key that registered it: nothing is stored, one host's
 * token is no good at another's, and whoever registers an address that is not theirs learns nothing that is of use there.
 * @returns 64 hex digits, HMAC-SHA-256
 */
export async function hostToken(secret: string, { kind, url, owner = '' }: HostAddress): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', encodeUtf8(secret), algorithm, false, ['sign'])
  const text = JSON.stringify([`shoal ${kind}`, owner, url])
  return toHex(new Uint8Array(await crypto.subtle.sign('HMAC', key, encodeUtf8(text))))
}

export interface HostAddress {
  kind: HostKind
  url: string
  /** The id of the key that registered it; none where no keys are asked for. */
  owner?: string
}
