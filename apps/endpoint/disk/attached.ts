import { resolve } from 'node:path'
import { deviceLeft, isRunning, unmountLeftovers } from '#adapters/mount-nbd/index.ts'
import { controlOf, type Detached } from './control.ts'
import { DiskError } from './disk-error.ts'
import type { DiskStats } from './disk-stats.ts'
import { type DiskRecord, folderOf, readRecords, unregister } from './record.ts'

/** A disk as others see it. `dead`: the process that served it was killed. */
export type AttachedDisk = DiskRecord & { readonly state: 'serving' | 'dead' }

/**
 * The disks that are attached on this machine, the oldest first. Dead ones are shown once: what they left is cleaned up
 * and their mounts are taken down.
 */
export async function listDisks(runDir: string): Promise<readonly AttachedDisk[]> {
  const disks = await readDisks(runDir)
  for (const disk of disks) if (disk.state === 'dead') await clean(runDir, disk)
  return disks
}

/**
 * @param wanted an id, a name or an image that only one disk has, or a mount point
 * @throws {DiskError} {ControlRefusal}
 */
export async function statsOfDisk(
  runDir: string,
  wanted: string,
): Promise<{ readonly disk: AttachedDisk; readonly stats: DiskStats }> {
  const disk = await findDisk(runDir, wanted)
  if (disk.state === 'dead') throw unknown(wanted)
  return { disk, stats: await controlOf(folderOf(runDir, disk.id).control).stats() }
}

/**
 * Has a disk flushed, unmounted and closed, and waits for it.
 *
 * @param wanted an id, a name or an image that only one disk has, or a mount point
 * @param force also when programs use it: what they have open fails then
 * @throws {ControlRefusal} MOUNT_BUSY, saying who uses it
 * @throws {DiskError} DISK_UNKNOWN, DISK_NAME_AMBIGUOUS, DISK_NOT_ANSWERING
 */
export async function detachDisk(
  runDir: string,
  wanted: string,
  force: boolean,
): Promise<{ readonly disk: AttachedDisk } & Detached> {
  const disk = await findDisk(runDir, wanted)
  const { lazily } =
    disk.state === 'dead'
      ? await clean(runDir, disk)
      : await controlOf(folderOf(runDir, disk.id).control).detach(force)
  return { disk, lazily }
}

/** Cleans nothing up. */
export async function readDisks(runDir: string): Promise<readonly AttachedDisk[]> {
  const records = await readRecords(runDir)
  return Promise.all(
    records.map(async (record) => ({
      ...record,
      state: (await isRunning(record)) ? ('serving' as const) : ('dead' as const),
    })),
  )
}

async function findDisk(runDir: string, wanted: string): Promise<AttachedDisk> {
  const disks = await readDisks(runDir)
  const dir = resolve(wanted)
  const found = disks.filter(
    ({ id, name, description, mount }) =>
      // `office:2, verified` is what a version of an image is described as.
      [id, name, description.split(', ')[0]].includes(wanted) || mount?.dir === dir,
  )
  const [first, second] = found
  if (first === undefined) throw unknown(wanted)
  if (second === undefined) return first
  const ids = found.map(({ id }) => id).join(', ')
  throw new DiskError('DISK_NAME_AMBIGUOUS', `${found.length} attached disks are called ${wanted}: ${ids}`, {
    remedy: 'Give one of these ids.',
  })
}

async function clean(runDir: string, { id }: AttachedDisk): Promise<Detached> {
  const folder = folderOf(runDir, id)
  const device = await deviceLeft(folder.path)
  if (device !== undefined) {
    // Loaded where there is something left.
    const { endSandboxesOn } = await import('#adapters/sandbox-bubblewrap/index.ts')
    await endSandboxesOn(device)
  }
  const unmounted = await unmountLeftovers(folder.path)
  await unregister(folder)
  return { lazily: unmounted?.lazily ?? false }
}

function unknown(wanted: string): DiskError {
  return new DiskError('DISK_UNKNOWN', `no attached disk is called ${JSON.stringify(wanted)}`, {
    remedy: 'See what is attached: trustcast disk list',
  })
}
