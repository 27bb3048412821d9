import process from 'node:process'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './tests/longest_first.ts'

/** Triton's own client cannot be installed from a registry: its test is there for whoever has its source. */
const triton = process.env.SHOAL_TRITON_CLIENT ? [] : ['tests/interop/triton_client.test.ts']

/**
 * What measures processor time, or what a socket loses in the very moment in which it is closed, needs a machine that is
 * not crowded: after all others.
 */
const ALONE = ['tests/faults/drain.test.ts', 'tests/faults/overload.test.ts']
/** `npm run faults`: its figures are of the faults, not of each other. */
const isFaultsAlone = process.env.SHOAL_FAULTS === 'thorough'
const EXCLUDED = ['tests/runtime/deno/**', 'tests/bench/**', '**/node_modules/**', ...triton]

export default defineConfig({
  test: {
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
    // Workers that tests hold by hand answer what they like: those tests that are about it switch it on.
    env: { SHOAL_SPOT_CHECKS: '0' },
    // Far beyond what any takes on a machine of its own: a wait ends when what it waits for has come, not when time is up.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    // A real failure must not hide behind a second try.
    retry: 0,
    projects: [
      {
        extends: true,
        test: {
          name: 'crowded',
          include: ['tests/**/*.test.ts'],
          exclude: [...EXCLUDED, ...ALONE],
          // One more than cores: at any time some wait.
          maxWorkers: isFaultsAlone ? 1 : 3,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'alone', include: ALONE, maxWorkers: isFaultsAlone ? 1 : 2, sequence: { groupOrder: 1 } },
      },
    ],
  },
})
