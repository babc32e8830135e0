import { join } from 'node:path'
import { DiskError } from './disk-error.ts'

/**
 * Where attached disks are registered: $TRUSTCAST_RUN, else /run/trustcast for root, else a folder in
 * $XDG_RUNTIME_DIR. It must be emptied by a restart of the machine.
 *
 * @throws {DiskError} DISK_NO_RUN_DIR
 */
export function runDirectory(environment: NodeJS.ProcessEnv, uid: number | undefined): string {
  const { TRUSTCAST_RUN: given, XDG_RUNTIME_DIR: own } = environment
  if (given) return given
  if (uid === 0) return '/run/trustcast'
  if (own) return join(own, 'trustcast')
  throw new DiskError('DISK_NO_RUN_DIR', 'expected XDG_RUNTIME_DIR to name a folder, it is not set', {
    remedy: 'Set TRUSTCAST_RUN to a folder of your own.',
  })
}
