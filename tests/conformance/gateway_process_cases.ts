import { expect, it } from 'vitest'
import { ask } from './gateway_http.ts'

/** The look into the process that Node and Deno give to admins. */
export function processCases(at: () => string): void {
  it('reports how its process is', async () => {
    const { status, json } = await ask(at(), 'GET', '/operations/report')
    expect(status).toBe(200)
    expect(json).toMatchObject({
      role: 'gateway',
      pid: expect.any(Number),
      versions: { shoal: expect.stringMatching(/^\d+\.\d+\.\d+$/), v8: expect.any(String) },
      handles: expect.any(Object),
      parts: { workers: expect.any(Array), tableAgeSeconds: expect.any(Number), metrics: expect.any(Object) },
      store: { answeredInMs: expect.any(Number), services: expect.arrayContaining(['shoal.Pool']) },
    })
    expect(json.memory.heapUsedBytes).toBeGreaterThan(1e6)
    expect(json.memory.heapLimitBytes).toBeGreaterThan(json.memory.heapUsedBytes)
    expect(json.parts.metrics.shoal_pool_workers).toBe(json.parts.workers.length)
    // The second report is of the time since the first.
    const { json: next } = await ask(at(), 'GET', '/operations/report')
    expect(next.eventLoop.sinceSeconds).toBeLessThan(next.uptimeSeconds + 1)
    expect(next.eventLoop.utilization).toBeLessThanOrEqual(1)
  })

  it('takes a profile of its processor', async () => {
    const { status, json } = await ask(at(), 'POST', '/operations/cpu-profile?seconds=1')
    expect(status).toBe(200)
    expect(json.nodes.length).toBeGreaterThan(0)
    expect(json.endTime).toBeGreaterThan(json.startTime)
  })

  it('takes none that is endless', async () => {
    for (const seconds of ['0', '61', '-1', '1.5', 'NaN', '']) {
      const { status, json } = await ask(at(), 'POST', `/operations/cpu-profile?seconds=${seconds}`)
      expect([seconds, status, json.detail]).toEqual([seconds, 400, expect.stringContaining('from 1 to 60')])
    }
  })
}

/** Where the process is not the gateway's to look into. */
export function noProcessCases(at: () => string): void {
  it('says where else to look', async () => {
    for (const [method, path] of [['GET', 'report'], ['POST', 'heap-snapshot'], ['POST', 'cpu-profile']] as const) {
      const { status, json } = await ask(at(), method, `/operations/${path}`)
      expect([path, status, json.detail]).toEqual([path, 501, expect.stringContaining('Node or Deno')])
    }
  })
}
