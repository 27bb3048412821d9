/**
 * Addresses that no function has and a gateway must not be made to call: link-local ones and others where clouds keep
 * their metadata, the unspecified one, and those of many. A URL's host comes in canonical form: 0x7f000001 and 127.1 are
 * 127.0.0.1 by then. Private and loopback addresses are allowed: whoever may register functions may run them beside the
 * gateway.
 * @param hostname as `URL` gives it, IPv6 in brackets
 */
export function isForbiddenHost(hostname: string): boolean {
  const host = hostname.toLowerCase().replace(/\.$/, '')
  return host.startsWith('[') ? isForbiddenIpv6(host) : METADATA_NAMES.has(host) || isForbiddenIpv4(host)
}

/** The same for an address that a name was resolved to. @param address without brackets */
export function isForbiddenAddress(address: string): boolean {
  if (!address.includes(':')) return isForbiddenIpv4(address)
  // A zone (fe80::1%eth0) is no part of a URL's host.
  const url = URL.parse(`http://[${address.split('%', 1)[0]}]/`)
  return url === null || isForbiddenIpv6(url.hostname)
}

/** Names under which clouds serve metadata, whatever they resolve to. */
const METADATA_NAMES: ReadonlySet<string> = new Set([
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'instance-data',
  'instance-data.ec2.internal',
])

/** Metadata at addresses that are not link-local: Alibaba's, Oracle's and Azure's. */
const METADATA_ADDRESSES: ReadonlySet<string> = new Set(['100.100.100.200', '192.0.0.192', '168.63.129.16'])

function isForbiddenIpv4(host: string): boolean {
  // 0.x.x.x is "this network", 224 and above are multicast, reserved and broadcast.
  return /^(169\.254|0\.\d+|(22[4-9]|2[3-5]\d)\.\d+)\.\d+\.\d+$/.test(host) || METADATA_ADDRESSES.has(host)
}

/** @param host in brackets, in the canonical form of URLs */
function isForbiddenIpv6(host: string): boolean {
  const groups = groupsOf(host.slice(1, -1))
  const [first = 0] = groups
  // fe80::/10 is link-local, ff00::/8 multicast; fd00:ec2::254 is a cloud's metadata.
  if ((first & 0xffc0) === 0xfe80 || first >= 0xff00 || host === '[fd00:ec2::254]') return true
  const embedded = embeddedIpv4(groups)
  return embedded !== undefined && (embedded !== '0.0.0.1' && isForbiddenIpv4(embedded))
}

/** The IPv4 address that an IPv6 one stands for, in any of the forms that some network translates. */
function embeddedIpv4(groups: readonly number[]): string | undefined {
  const [a, b, c, d, e, f, g = 0, h = 0] = groups
  const dotted = (high: number, low: number) => [high >> 8, high & 255, low >> 8, low & 255].join('.')
  // 2002::/16 is 6to4.
  if (a === 0x2002) return dotted(b ?? 0, c ?? 0)
  // 64:ff9b::/96 is NAT64.
  if (a === 0x64 && b === 0xff9b) return dotted(g, h)
  const zeros = a === 0 && b === 0 && c === 0 && d === 0
  // ::a.b.c.d, ::ffff:a.b.c.d and ::ffff:0:a.b.c.d
  const isMapped = (e === 0 && (f === 0 || f === 0xffff)) || (e === 0xffff && f === 0)
  return zeros && isMapped ? dotted(g, h) : undefined
}

function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::')
  const read = (part: string) => part === '' ? [] : part.split(':').map((group) => parseInt(group, 16))
  const [before, after] = [read(head), read(tail ?? '')]
  return [...before, ...new Array<number>(Math.max(0, 8 - before.length - after.length)).fill(0), ...after]
}
