import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { findRedisServer, startRedisServer } from '../../../infra/local_redis.ts'
import { redisCommand } from '../../conformance/redis_command.ts'

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe('a local Redis', () => {
  it('ends without a trace', async () => {
    const server = await startRedisServer()
    const [, folder] = await redisCommand(server.url, 'CONFIG', 'GET', 'dir') as [string, string]
    expect(isAlive(server.pid)).toBe(true)
    expect(existsSync(folder)).toBe(true)
    await server.close()
    await server.close()
    expect(isAlive(server.pid)).toBe(false)
    expect(existsSync(folder)).toBe(false)
  })

  it('ends even while it is stopped', async () => {
    const server = await startRedisServer()
    await server.kill('SIGSTOP')
    await server.close()
    expect(isAlive(server.pid)).toBe(false)
  })

  it('takes the port asked for, or says that it cannot', async () => {
    const server = await startRedisServer()
    try {
      await expect(startRedisServer({ port: server.port })).rejects.toThrow(
        new RegExp(`^Cannot start Redis: it must get ready on port ${server.port}, got:[^]*bind`),
      )
      await server.kill('SIGTERM')
      expect(isAlive(server.pid)).toBe(false)
      const again = await startRedisServer({ port: server.port })
      expect(again.port).toBe(server.port)
      await again.close()
    } finally {
      await server.close()
    }
  })

  it('says what to install where there is none', async () => {
    expect(findRedisServer('')).toBeUndefined()
    const path = process.env.PATH
    process.env.PATH = '/nonexistent'
    try {
      await expect(startRedisServer()).rejects.toThrow('apt-get install redis-server')
    } finally {
      process.env.PATH = path
    }
  })
})
