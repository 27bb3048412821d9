import { describe, expect, it } from 'vitest'
import { isForbiddenHost } from '../../../functions/gateway/forbidden_host.ts'

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
  ])('%s is allowed', (url) => {
    expect(isForbiddenHost(hostOf(url))).toBe(false)
  })
})
