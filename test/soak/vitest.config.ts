import path from 'node:path'
import { defineConfig } from 'vitest/config'

/** Only for `make soak`. */
export default defineConfig({
  root: path.resolve(import.meta.dirname, '../..'),
  test: { include: ['test/soak/**/*.test.ts'] },
})
