import { expect, it } from 'vitest'
import { sumOf } from '../../../functions/console/metrics_text.ts'
import { Metrics } from '../../../shared/base/metrics.ts'

it('adds up the series of a family as the gateway writes them, and of no other', () => {
  const metrics = new Metrics()
  metrics.count('calls_total', { code: 'ok', face: 'rpc' }, 3)
  metrics.count('calls_total', { code: 'internal', face: 'rpc' }, 2)
  metrics.count('calls_total_more', undefined, 100)
  metrics.gauge('waiting', () => 7.5)
  metrics.observeSeconds('took_seconds', 0.25)
  const text = metrics.render()
  expect(sumOf(text, 'calls_total')).toBe(5)
  expect(sumOf(text, 'calls_total', (labels) => !/(^|,)code="ok"/.test(labels))).toBe(2)
  expect(sumOf(text, 'waiting')).toBe(7.5)
  expect([sumOf(text, 'took_seconds_count'), sumOf(text, 'took_seconds_sum')]).toEqual([1, 0.25])
  expect(sumOf(text, 'none')).toBe(0)
})
