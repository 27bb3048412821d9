import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    exclude: ['tests/runtime/deno/**', 'tests/bench/**', '**/node_modules/**'],
    pool: 'forks',
    // More would only fight each other: several tests start a browser, workerd or Redis of their own.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // A real failure must not hide behind a second try.
    retry: 0,
  },
})
