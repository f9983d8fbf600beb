import path from 'node:path'
import { defineConfig } from 'vitest/config'

/** Only for run.mjs, which starts the cluster. */
export default defineConfig({
  root: path.resolve(import.meta.dirname, '../..'),
  test: {
    include: ['test/cluster/**/*.test.ts'],
    // They share one agent.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 180_000,
  },
})
