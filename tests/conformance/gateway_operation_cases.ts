import { expect, it } from 'vitest'
import { problemsOf } from '../fixtures/check_openapi.ts'
import { type Answer, ask } from './gateway_http.ts'
import { parseMetrics } from './gateway_metrics.ts'

export function operationCases(at: () => string): void {
  it('answers its probes', async () => {
    for (const path of ['/livez', '/readyz']) {
      const { status, text } = await ask(at(), 'GET', path)
      expect([status, text]).toEqual([200, 'ok\n'])
    }
  })

  it('describes all its routes as OpenAPI', async () => {
    const { status, json } = await ask(at(), 'GET', '/openapi.json')
    expect(status).toBe(200)
    expect(problemsOf(json)).toEqual([])
    // Those that check what comes in say how.
    const { schemas } = json.components
    expect(schemas['postRegistryInstances.Input']).toMatchObject({ required: expect.arrayContaining(['id', 'url']) })
    expect(schemas['shoal.Inference.infer.Input']).toMatchObject({ required: ['model', 'inputs'] })
    for (const path of ['/workers', '/models', '/registry/services/{service}', '/v2/models/{model}/infer', '/livez']) {
      expect(Object.values(json.paths[path]), path).not.toEqual([])
    }
    // A route that was renamed would be described under its old name still, if at all.
    for (const [path, item] of Object.entries<Record<string, { summary?: string }>>(json.paths)) {
      if (/^\/(workers|registry)/.test(path)) {
        for (const operation of Object.values(item)) expect([path, operation.summary]).not.toContain(undefined)
      }
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

  it('lives on when its readers go in the middle of an answer', async () => {
    const files = ['/assets/ort/ort-wasm-simd-threaded.wasm', '/assets/engine_worker.js', '/metrics']
    for (const path of files) {
      for (let i = 0; i < 10; i++) {
        const leaving = new AbortController()
        const response = await fetch(at() + path, { signal: leaving.signal })
        expect([path, response.status]).toEqual([path, 200])
        const reader = response.body?.getReader()
        await reader?.read()
        leaving.abort()
        await reader?.closed.catch(() => {})
      }
    }
    expect((await ask(at(), 'GET', '/livez')).status).toBe(200)
  })

  it('answers HEAD as GET, without the body', async () => {
    for (const path of ['/livez', '/workers', '/models', '/v2', '/assets/join_page.js', '/nothing']) {
      const [get, head] = [await ask(at(), 'GET', path), await ask(at(), 'HEAD', path)]
      expect([path, head.status, head.text]).toEqual([path, get.status, ''])
      const typeOf = ({ headers }: Answer) => headers.get('content-type')?.split(';')[0]
      expect(typeOf(head)).toBe(typeOf(get))
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
