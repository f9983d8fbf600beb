import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/bench/**', 'test/cluster/**', 'test/soak/**'],
    // Truth tests cause faults on one shared kernel and two of them at once would count each other's packets.
    fileParallelism: false,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } }, // on a busy machine a program takes seconds to start
  },
})
