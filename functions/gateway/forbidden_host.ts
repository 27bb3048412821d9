/**
 * Addresses that no function has and a gateway must not be made to call: link-local ones, where clouds keep their
 * metadata, and the unspecified one. A URL's host comes in canonical form: 0x7f000001 and 127.1 are 127.0.0.1 by then.
 * Private and loopback addresses are allowed: whoever may register functions may run them beside the gateway.
 */
export function isForbiddenHost(hostname: string): boolean {
  const host = hostname.toLowerCase().replace(/\.$/, '')
  if (host.startsWith('[')) return isForbiddenIpv6(host.slice(1, -1))
  return /^(169\.254|0\.\d+)\.\d+\.\d+$/.test(host) || host === 'metadata.google.internal'
}

function isForbiddenIpv6(address: string): boolean {
  if (address === '::' || /^fe[89ab]/.test(address)) return true
  // ::ffff:a9fe:xxxx is 169.254.x.x written as IPv6, ::ffff:xx:xxxx is 0.x.x.x; fd00:ec2::254 is a cloud's metadata.
  return /^::ffff:(a9fe|[0-9a-f]{1,2}):/.test(address) || address === 'fd00:ec2::254'
}
