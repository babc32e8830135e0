import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

const quick: string[] = ['core/**/*.test.ts', 'adapters/**/*.unit.test.ts', 'apps/**/*.unit.test.ts']
const driven: string[] = ['adapters/**/*.test.ts', 'apps/**/*.test.ts', 'interop/**/*.test.ts']

/** They count and end what runs in the displays of this machine, and would meet one another's. */
const alone: string[] = [
  'adapters/display-xvnc/display-xvnc.test.ts',
  'apps/host/host.test.ts',
  'apps/host/adoption.test.ts',
]

const real = {
  globalSetup: ['./interop/host-secret.setup.ts', './interop/site-state.setup.ts'],
  testTimeout: 120_000,
  hookTimeout: 300_000,
  expect: { poll: { timeout: 20_000 } },
}

/**
 * Files that take minutes, first: what is begun last must not be what is waited for. Those that wait more than they work run beside the
 * first, which needs all processors.
 */
const longest: readonly string[] = [
  'interop/whole-machine.test.ts',
  'interop/verifier-alarms.test.ts',
  'interop/brake.test.ts',
  'interop/store-postgres.test.ts',
  'interop/streamed-disk.test.ts',
  'interop/network-integrity.test.ts',
  'interop/attacks/i5-evidence.test.ts',
  'interop/local-vm.test.ts',
  'interop/release-site.test.ts',
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

/** `unit` needs only Node and takes seconds; `real` and `alone` drive real peers and fail when one is missing. */
const config: ViteUserConfig = defineConfig({
  test: {
    // Most of them wait for other programs most of the time: a worker takes from a tenth to a half of a processor.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    projects: [
      // The limit is for hanging tests; a busy machine must not fail slow ones.
      { test: { name: 'unit', include: quick, testTimeout: 60_000 } },
      {
        test: {
          ...real,
          name: 'real',
          include: driven,
          exclude: ['**/*.unit.test.ts', '**/node_modules/**', ...alone],
        },
      },
      // Groups run one after the other.
      {
        test: { ...real, name: 'alone', include: alone, fileParallelism: false, sequence: { groupOrder: 1 } },
      },
    ],
  },
})

export default config
