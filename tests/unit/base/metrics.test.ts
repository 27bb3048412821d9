import { describe, expect, it } from 'vitest'
import { Metrics } from '../../../shared/base/metrics.ts'

describe('Metrics', () => {
  it('renders counters by series, grouped under one TYPE line per name', () => {
    const metrics = new Metrics()
    metrics.count('calls_total', { code: 'ok' })
    metrics.count('drops_total')
    metrics.count('calls_total', { code: 'internal' }, 3)
    metrics.count('calls_total', { code: 'ok' })
    expect(metrics.render()).toBe(
      '# TYPE calls_total counter\n' +
        'calls_total{code="ok"} 2\n' +
        'calls_total{code="internal"} 3\n' +
        '# TYPE drops_total counter\n' +
        'drops_total 1\n',
    )
  })

  it('reads a counter back, 0 if it never rose', () => {
    const metrics = new Metrics()
    metrics.count('calls_total', { code: 'ok' }, 2)
    expect(metrics.valueOf('calls_total', { code: 'ok' })).toBe(2)
    expect(metrics.valueOf('calls_total', { code: 'lost' })).toBe(0)
    expect(metrics.valueOf('calls_total')).toBe(0)
  })

  it('takes labels in any order as one series', () => {
    const metrics = new Metrics()
    metrics.count('calls_total', { method: 'infer', code: 'ok' })
    metrics.count('calls_total', { code: 'ok', method: 'infer' })
    expect(metrics.render()).toBe('# TYPE calls_total counter\ncalls_total{code="ok",method="infer"} 2\n')
  })

  it('escapes backslash, quote and line feed in label values', () => {
    const metrics = new Metrics()
    metrics.count('calls_total', { path: 'a\\b"c\nd{e}' })
    expect(metrics.render()).toContain('calls_total{path="a\\\\b\\"c\\nd{e}"} 1\n')
  })

  it('reads a gauge when it renders, and keeps the latest reader', () => {
    const metrics = new Metrics()
    let depth = 1
    metrics.gauge('queue_calls', () => -1)
    metrics.gauge('queue_calls', () => depth)
    depth = 7
    expect(metrics.render()).toBe('# TYPE queue_calls gauge\nqueue_calls 7\n')
  })

  it('renders a histogram with cumulative buckets, sum and count', () => {
    const metrics = new Metrics()
    for (const seconds of [0.0005, 0.25, 0.3, 100]) metrics.observeSeconds('run_seconds', seconds, { model: 'm' })
    const lines = metrics.render().trimEnd().split('\n')
    expect(lines[0]).toBe('# TYPE run_seconds histogram')
    const buckets = lines.filter((line) => line.startsWith('run_seconds_bucket'))
    expect(buckets).toHaveLength(16)
    // A bound includes its own value: le is "less or equal".
    expect(buckets[0]).toBe('run_seconds_bucket{model="m",le="0.0005"} 1')
    expect(buckets).toContain('run_seconds_bucket{model="m",le="0.1"} 1')
    expect(buckets).toContain('run_seconds_bucket{model="m",le="0.25"} 2')
    expect(buckets).toContain('run_seconds_bucket{model="m",le="0.5"} 3')
    expect(buckets).toContain('run_seconds_bucket{model="m",le="30"} 3')
    expect(buckets.at(-1)).toBe('run_seconds_bucket{model="m",le="+Inf"} 4')
    expect(lines).toContain('run_seconds_sum{model="m"} 100.5505')
    expect(lines.at(-1)).toBe('run_seconds_count{model="m"} 4')
  })

  it('renders a histogram without labels', () => {
    const metrics = new Metrics()
    metrics.observeSeconds('run_seconds', 1)
    const text = metrics.render()
    expect(text).toContain('\nrun_seconds_bucket{le="+Inf"} 1\n')
    expect(text).toContain('\nrun_seconds_sum 1\nrun_seconds_count 1\n')
  })
})
