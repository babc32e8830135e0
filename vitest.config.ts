import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

const quick: string[] = ['core/**/*.test.ts', 'adapters/**/*.unit.test.ts', 'apps/**/*.unit.test.ts']
const real: string[] = ['adapters/**/*.test.ts', 'apps/**/*.test.ts', 'interop/**/*.test.ts']

/** Files that take minutes, the longest first: what is begun last must not be what is waited for. */
const longest: readonly string[] = [
  'interop/whole-machine.test.ts',
  'interop/verifier-alarms.test.ts',
  'interop/streamed-disk.test.ts',
  'interop/store-postgres.test.ts',
  'interop/brake.test.ts',
  'interop/local-vm.test.ts',
  'interop/attacks/i5-evidence.test.ts',
  'interop/network-integrity.test.ts',
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- the sequencer's own, by size of the file
    const bySize = await super.sort(files)
    return bySize.toSorted((a, b) => rank(a) - rank(b))
  }
}

function rank({ moduleId }: TestSpecification): number {
  const at = longest.findIndex((path) => moduleId.endsWith(path))
  return at === -1 ? longest.length : at
}

/** `unit` needs only Node and takes seconds; `real` drives real peers and fails when one is missing. */
const config: ViteUserConfig = defineConfig({
  test: {
    // Most of them wait for other programs most of the time.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
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
