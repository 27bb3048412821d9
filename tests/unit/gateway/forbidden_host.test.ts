import { describe, expect, it } from 'vitest'
import { isForbiddenAddress, isForbiddenHost } from '../../../functions/gateway/forbidden_host.ts'

const hostOf = (url: string) => new URL(url).hostname

describe('hosts that no function has', () => {
  it.each([
    'http://169.254.169.254/latest/meta-data',
    'http://0xa9fea9fe/',
    'http://2852039166/',
    'http://[fe80::1]/',
    'http://[::ffff:169.254.169.254]/',
    'http://[fd00:ec2::254]/',
    'http://0.0.0.0:80/',
    'http://0/',
    'http://[::]/',
    'http://METADATA.google.internal./',
    'http://0251.0376.0251.0376/',
    'http://169.254.43518/',
    'http://[::ffff:0:169.254.169.254]/',
    'http://[::169.254.169.254]/',
    'http://[64:ff9b::169.254.169.254]/',
    'http://[2002:a9fe:a9fe::1]/',
    'http://[febf::1]/',
    'http://[ff02::1]/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
    'http://100.100.100.200/',
    'http://168.63.129.16/',
    'http://instance-data.ec2.internal/',
  ])('%s is refused', (url) => {
    expect(isForbiddenHost(hostOf(url))).toBe(true)
  })

  it.each([
    'http://127.0.0.1:8787/',
    'http://127.1/',
    'http://10.0.0.7/',
    'http://192.168.1.5/',
    'http://[::1]/',
    'http://[2001:db8::1]/',
    'http://[::ffff:127.0.0.1]/',
    'https://hello.example.com/',
    'http://169.254.example.com/',
    'http://localhost./',
    'http://223.255.255.1/',
    'http://[fd00::254]/',
    'http://[2002:7f00:1::1]/',
  ])('%s is allowed', (url) => {
    expect(isForbiddenHost(hostOf(url))).toBe(false)
  })
})

it('tells addresses that names were resolved to apart as well', () => {
  for (const address of ['169.254.169.254', '::ffff:169.254.169.254', 'fe80::1%eth0', '0.0.0.0', '::', 'no:address']) {
    expect([address, isForbiddenAddress(address)]).toEqual([address, true])
  }
  for (const address of ['127.0.0.1', '::1', '10.0.0.7', '2001:db8::1']) {
    expect([address, isForbiddenAddress(address)]).toEqual([address, false])
  }
})
