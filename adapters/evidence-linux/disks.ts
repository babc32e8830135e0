import { readFileSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import {
  type BlockFacts,
  dataMounts,
  judgeDisks,
  type MountFacts,
  parseMountInfo,
  parseSwaps,
  type VolumeFacts,
  type WatchingCollector,
} from '#core/posture/index.ts'
import { namesIn, readText } from './read-bounded.ts'
import { watchGlance } from './watched.ts'

export interface DiskOptions {
  /** `/proc` */
  readonly proc: string
  /** `/sys` */
  readonly sys: string
}

const collector = 'disks'
const maxDepth = 16

/** Follows root, every data volume and swap down to dm-crypt or a plain disk. Disks that encrypt by themselves are not seen. */
export function disksCollector({ proc, sys }: DiskOptions): WatchingCollector {
  const mounts = (): string => readFileSync(join(proc, 'self/mountinfo'), 'utf8')
  const swaps = (): string => readFileSync(join(proc, 'swaps'), 'utf8')
  return {
    name: collector,
    claims: ['endpoint.diskEncryption'],
    collect: async () => {
      const held = await Promise.all(
        dataMounts(parseMountInfo(mounts())).map(async (mount) => volumeOf(sys, mount)),
      )
      const swapped = await Promise.all(
        parseSwaps(swaps())
          .filter(({ isFile }) => !isFile)
          .map(async ({ path }): Promise<VolumeFacts> => {
            const device = await deviceAt(path)
            return { role: 'swap', block: device === undefined ? undefined : await blockOf(sys, device) }
          }),
      )
      return [judgeDisks([...held.filter((volume) => volume !== undefined), ...swapped], collector)]
    },
    watch: (changed, signal) => watchGlance(() => `${mounts()}\n${swaps()}`, changed, signal),
  }
}

/** @returns undefined for what holds nothing here itself: files that are mounted, memory, disks of the network */
async function volumeOf(sys: string, mount: MountFacts): Promise<VolumeFacts | undefined> {
  const isRoot = mount.mountPoint === '/'
  // File systems over several devices have a number that is none of a device.
  const device = mount.device.startsWith('0:') ? await deviceAt(mount.source) : mount.device
  const folder = device === undefined ? '' : await realpath(join(sys, 'dev/block', device)).catch(() => '')
  const role = isRoot ? 'root' : /\/usb\d+\//.test(folder) ? 'removable' : 'data'
  if (device === undefined || folder === '') return { role, block: undefined }
  if (!isRoot && /^(?:loop|nbd|ram|zram)\d/.test(basename(folder))) return undefined
  return { role, block: await blockOf(sys, device) }
}

async function deviceAt(path: string): Promise<string | undefined> {
  if (!path.startsWith('/dev/')) return undefined
  const found = await stat(path).catch(() => undefined)
  if (found?.isBlockDevice() !== true) return undefined
  // makedev(3): the numbers' lower bits are 8 and 12 wide.
  return `${(found.rdev >> 8) & 0xfff}:${(found.rdev & 0xff) | ((found.rdev >> 12) & 0xfff00)}`
}

/** A device, what it maps to, and what it is a part of. */
async function blockOf(sys: string, device: string, depth: number = maxDepth): Promise<BlockFacts> {
  const folder = await realpath(join(sys, 'dev/block', device))
  const uuid = (await readText(join(folder, 'dm/uuid')))?.trim()
  const names = await namesIn(join(folder, 'slaves'))
  const below = await Promise.all(names.map(async (name) => readText(join(folder, 'slaves', name, 'dev'))))
  const isPart = (await readText(join(folder, 'partition'))) !== undefined
  const whole = isPart ? await readText(join(folder, '../dev')) : undefined
  const devices = [...below, whole].filter((one) => one !== undefined).map((one) => one.trim())
  if (depth === 0) return { uuid, slaves: [] }
  return { uuid, slaves: await Promise.all(devices.map(async (one) => blockOf(sys, one, depth - 1))) }
}
