import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { findRedisServer, startRedisServer } from '../../../infra/local_redis.ts'
import { ROOT } from '../../../infra/tools.ts'
import { eventually } from '../../conformance/expectations.ts'
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

  it('ends with the process that started it, even if that is killed', async () => {
    const program = `import { startRedisServer } from './infra/local_redis.ts'
      console.log((await startRedisServer()).pid)`
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const pid = Number(await new Promise((resolve) => child.stdout.once('data', resolve)))
    expect(isAlive(pid)).toBe(true)
    child.kill('SIGKILL')
    await eventually(async () => !isAlive(pid))
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
