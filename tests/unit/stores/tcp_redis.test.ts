import { connect, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../../infra/local_redis.ts'
import type { RedisCommands } from '../../../shared/stores/redis_commands.ts'
import { redisOnce } from '../../../shared/stores/redis_once.ts'
import { redisLeases } from '../../../shared/stores/redis_store.ts'
import { tcpRedis } from '../../../shared/stores/tcp_redis.ts'
import { eventually, realTime, refusal } from '../../conformance/expectations.ts'
import { redisCommand } from '../../conformance/redis_command.ts'
import { instance } from './instances.ts'
import { portOf } from './port_of.ts'

/** Long for a server that works, whatever else the machine does. */
const TIMEOUT_MS = 1_500

const works = (redis: RedisCommands) => () => redis.ping().then(() => true, () => false)

describe('Redis over TCP', () => {
  let server: LocalRedis
  let redis: RedisCommands

  beforeEach(async () => {
    server = await startRedisServer()
    redis = tcpRedis(server.url, { timeoutMs: TIMEOUT_MS })
  })
  afterEach(async () => {
    await redis.quit()
    await server.close()
  })

  it('takes commands before the first connection is made', async () => {
    await redis.ping()
  })

  it('claims keys and takes values', async () => {
    expect(await redis.setIfAbsent('k', 'value', 60_000)).toBe(true)
    expect(await redis.setIfAbsent('k', 'other', 60_000)).toBe(false)
    const taken = await Promise.all([redis.take('k'), redis.take('k')])
    expect(taken.filter((value) => value === 'value')).toHaveLength(1)
    expect(await redis.take('k')).toBeUndefined()
  })

  it('is unavailable while the server is dead, and comes back with it, scripts and all', async () => {
    const leases = redisLeases(redis)
    const once = redisOnce(redis)
    await leases.renew([instance()])
    const { revision } = await leases.list('demo.Hello')
    await server.kill('SIGKILL')
    for (let i = 0; i < 3; i++) {
      const errors = await Promise.all([
        refusal(leases.renew([instance()])),
        refusal(leases.list('demo.Hello')),
        refusal(leases.leave('demo.Hello', 'a', 'first')),
        refusal(leases.services()),
        refusal(once.claim('token', 1000)),
        refusal(redis.ping()),
        refusal(redis.take('token')),
      ])
      for (const error of errors) {
        expect(error.code).toBe('unavailable')
        expect(error.message).toContain(`Redis at 127.0.0.1:${server.port} must be connected`)
      }
    }
    await server.close()
    server = await startRedisServer({ port: server.port })
    await eventually(works(redis))
    expect(await leases.renew([instance()])).toEqual([])
    const listing = await leases.list('demo.Hello', revision)
    expect(listing.revision).toBeGreaterThan(revision)
    expect(listing).toHaveProperty('instances')
  })

  it('gives up on a server that hangs, and uses it again when it goes on', async () => {
    await redis.ping()
    await server.kill('SIGSTOP')
    const [first, second] = await Promise.all([refusal(redis.ping()), refusal(redis.take('k'))])
    expect([first.code, second.code]).toEqual(['unavailable', 'unavailable'])
    expect(first.message).toContain(`must answer within ${TIMEOUT_MS} ms, got no answer`)
    expect((await refusal(redis.ping())).code).toBe('unavailable')
    await server.kill('SIGCONT')
    await eventually(works(redis))
  })

  it('takes a new connection when the one it has goes silent, as behind a lost NAT entry', async () => {
    const proxy = await startProxy(server.port)
    const behind = tcpRedis(`redis://127.0.0.1:${proxy.port}`, { timeoutMs: TIMEOUT_MS })
    try {
      await behind.ping()
      proxy.silence()
      expect((await refusal(behind.ping())).message).toContain('got no answer')
      await behind.ping()
      expect(proxy.connections()).toBe(2)
    } finally {
      await behind.quit()
      await proxy.close()
    }
  })

  it('fails the commands in flight when the server dies', async () => {
    await redis.ping()
    await server.kill('SIGSTOP')
    const inFlight = refusal(redis.ping())
    await server.kill('SIGKILL')
    expect((await inFlight).code).toBe('unavailable')
  })

  it('finds a server that starts later', async () => {
    await server.kill('SIGKILL')
    const early = tcpRedis(server.url)
    try {
      expect((await refusal(early.ping())).message).toContain('ECONNREFUSED')
      await server.close()
      server = await startRedisServer({ port: server.port })
      await eventually(works(early))
    } finally {
      await early.quit()
    }
  })

  it('says that the password is wrong, without saying the password', async () => {
    const guarded = await startRedisServer({ args: ['--requirepass', 'right-secret'] })
    const wrong = tcpRedis(guarded.url.replace('//', '//default:wrong-secret@'))
    const right = tcpRedis(guarded.url.replace('//', '//default:right-secret@'))
    try {
      const error = await refusal(wrong.ping())
      expect(error.code).toBe('unavailable')
      expect(error.message).toContain('WRONGPASS')
      expect(error.message).not.toContain('secret')
      await right.ping()
    } finally {
      await Promise.all([wrong.quit(), right.quit(), guarded.close()])
    }
  })

  it('refuses an address that is none', () => {
    for (const url of ['', 'nonsense', 'http://127.0.0.1:6379', '127.0.0.1:6379']) {
      expect(() => tcpRedis(url)).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
    }
  })

  it('leaves no connection open, whenever it is told to quit', async () => {
    for (let i = 0; i < 10; i++) {
      const brief = tcpRedis(server.url)
      if (i % 2 === 1) await realTime(i)
      await brief.quit()
    }
    await redis.quit()
    // One line for each connection; the one that asks is among them.
    await eventually(async () =>
      String(await redisCommand(server.url, 'CLIENT', 'LIST')).trim().split('\n').length === 1
    )
  })

  it('quits though the server hangs before it has said hello', async () => {
    const guarded = await startRedisServer({ args: ['--requirepass', 'secret'] })
    try {
      await guarded.kill('SIGSTOP')
      const hung = tcpRedis(guarded.url.replace('//', '//default:secret@'), { timeoutMs: 300 })
      expect((await refusal(hung.ping())).code).toBe('unavailable')
      const inFlight = refusal(hung.ping())
      await hung.quit()
      expect((await inFlight).code).toBe('unavailable')
    } finally {
      await guarded.close()
    }
  })

  it('is unavailable after quitting, which may be done twice', async () => {
    await redis.quit()
    await redis.quit()
    expect((await refusal(redis.ping())).message).toContain('got closed')
  })
})

/** Passes bytes both ways, until told to pass none on the connections it has; it leaves them open. */
async function startProxy(targetPort: number) {
  const sockets: Socket[] = []
  let connections = 0
  const proxy = createServer((near) => {
    connections++
    const far = connect(targetPort, '127.0.0.1')
    for (const [from, to] of [[near, far], [far, near]] as const) {
      from.on('data', (bytes) => to.write(bytes)).on('error', () => {}).on('close', () => to.destroy())
      sockets.push(from)
    }
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  return {
    port: portOf(proxy),
    connections: () => connections,
    silence() {
      for (const socket of sockets) socket.removeAllListeners('data').pause()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => proxy.close(resolve))
    },
  }
}
