import { readFile } from 'node:fs/promises'
import { linuxCollectors, runCommand } from '#adapters/evidence-linux/index.ts'
import { parseConfig } from '#core/config/parse-config.ts'
import {
  atMostEvery,
  defaultRules,
  macosProbes,
  osqueryProbes,
  type PostureRules,
  postureRules,
  probing,
  type WatchingCollector,
  windowsProbes,
} from '#core/posture/index.ts'

/** Where an organisation puts its rules. */
const rulesFile = '/etc/trustcast/posture.yaml'

/** A second look need not be as quick as the first. */
const osqueryMs = 10 * 60_000
/** Commands of other systems take up to seconds. */
const commandMs = 5 * 60_000

/**
 * Reads what the organisation expects of its endpoints.
 *
 * @param named another file than the usual one, which then has to be there; `$TRUSTCAST_POSTURE` unless said otherwise
 * @returns rules that expect nothing in particular when the usual file is not there
 * @throws {ConfigError} of a file that is none; {NodeJS.ErrnoException} for one that was named and cannot be read
 */
export async function readPostureRules(
  named: string | undefined = process.env['TRUSTCAST_POSTURE'],
): Promise<PostureRules> {
  const path = named ?? rulesFile
  try {
    return parseConfig(await readFile(path, 'utf8'), postureRules, path)
  } catch (error) {
    const isAbsent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    if (named === undefined && isAbsent) return defaultRules
    throw error
  }
}

/** Everything that looks at this machine, and osquery's second look where it is installed. */
export async function endpointCollectors(
  rules: PostureRules,
  now: () => number = Date.now,
): Promise<readonly WatchingCollector[]> {
  const { platform } = process
  const judging = (): { rules: PostureRules; now: number } => ({ rules, now: now() })
  const probes = platform === 'win32' ? windowsProbes : platform === 'darwin' ? macosProbes : []
  const own =
    platform === 'linux'
      ? linuxCollectors({ rules, now })
      : probes.map((probe) => atMostEvery(commandMs, probing(probe, runCommand, judging), now))
  const { status } = await runCommand(['osqueryi', '--version'])
  if (status !== 0 || (platform !== 'linux' && platform !== 'win32' && platform !== 'darwin')) return own
  const second = osqueryProbes[platform].map((probe) =>
    atMostEvery(osqueryMs, probing(probe, runCommand, judging), now),
  )
  return [...own, ...second]
}
