import process from 'node:process'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './tests/longest_first.ts'

/** Triton's own client cannot be installed from a registry: its test is there for whoever has its source. */
const triton = process.env.SHOAL_TRITON_CLIENT ? [] : ['tests/interop/triton_client.test.ts']

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    exclude: ['tests/runtime/deno/**', 'tests/bench/**', '**/node_modules/**', ...triton],
    pool: 'forks',
    // One more than cores: at any time some wait.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    // Workers that tests hold by hand answer what they like: those tests that are about it switch it on.
    env: { SHOAL_SPOT_CHECKS: '0' },
    // Far beyond what any takes on a machine of its own: a wait ends when what it waits for has come, not when time is up.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    // A real failure must not hide behind a second try.
    retry: 0,
  },
})
