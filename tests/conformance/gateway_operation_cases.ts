import { expect, it } from 'vitest'
import { ask } from './gateway_http.ts'
import { parseMetrics } from './gateway_metrics.ts'

export function operationCases(at: () => string): void {
  it('answers its probes', async () => {
    for (const path of ['/livez', '/readyz']) {
      const { status, text } = await ask(at(), 'GET', path)
      expect([status, text]).toEqual([200, 'ok\n'])
    }
  })

  it('writes its metrics as Prometheus reads them', async () => {
    const { status, headers, text } = await ask(at(), 'GET', '/metrics')
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const families = parseMetrics(text)
    const calls = families.get('rpc_server_call_duration_seconds')
    expect(calls?.type).toBe('histogram')
    for (const face of ['rpc', 'v2']) {
      const series = `rpc_server_call_duration_seconds_count{code="ok",face="${face}"}`
      expect(calls?.samples.get(series)).toBeGreaterThan(0)
    }
    for (const [name, { type }] of families) {
      expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/)
      if (type === 'counter') expect(name).toMatch(/_total$/)
    }
  })

  it('answers what it does not know with 404 and a problem', async () => {
    for (const [method, path] of [['GET', '/nothing'], ['POST', '/workers'], ['DELETE', '/livez']] as const) {
      const { status, headers, json } = await ask(at(), method, path)
      expect([status, headers.get('content-type')]).toEqual([404, 'application/problem+json'])
      expect(json).toMatchObject({ status: 404, title: 'not_found', detail: expect.stringContaining(path) })
    }
  })
}
