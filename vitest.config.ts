import { defineConfig, type ViteUserConfig } from 'vitest/config'

const quick: string[] = ['core/**/*.test.ts', 'adapters/**/*.unit.test.ts', 'apps/**/*.unit.test.ts']
const real: string[] = ['adapters/**/*.test.ts', 'apps/**/*.test.ts', 'interop/**/*.test.ts']

/** `unit` needs only Node and takes seconds; `real` drives real peers and fails when one is missing. */
const config: ViteUserConfig = defineConfig({
  test: {
    // Most of them wait for other programs most of the time.
    maxWorkers: 2,
    projects: [
      // The limit is for hanging tests; a busy machine must not fail slow ones.
      { test: { name: 'unit', include: quick, testTimeout: 60_000 } },
      {
        test: {
          name: 'real',
          include: real,
          globalSetup: ['./interop/host-secret.setup.ts', './interop/site-state.setup.ts'],
          exclude: ['**/*.unit.test.ts', '**/node_modules/**'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          expect: { poll: { timeout: 20_000 } },
        },
      },
    ],
  },
})

export default config
