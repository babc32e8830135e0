import { type AttachedDisk, detachDisk, listDisks, statsOfDisk } from '#apps/endpoint/disk/attached.ts'
import type { DiskStats } from '#apps/endpoint/disk/disk-stats.ts'
import { runDirectory } from '#apps/endpoint/disk/run-dir.ts'
import { type Command, parse, table } from '../../command.ts'
import { replicaText } from '../../replica-text.ts'
import { sizeText } from '../image/store-options.ts'

export const list: Command = {
  synopsis: 'list',
  summary: 'The disks that are attached. What killed processes left of theirs is cleaned up.',
  run: async (args, out) => {
    parse(args, {}, [0, 0])
    const disks = await listDisks(ownRunDirectory())
    out.result({ disks }, () =>
      disks.length === 0
        ? 'No disk is attached.'
        : table(
            ['DISK', 'NAME', 'STATE', 'SIZE', 'MOUNTED', 'SINCE'],
            disks.map((one) => [
              one.id,
              one.name,
              one.state === 'dead' ? 'dead, cleaned up' : stateOf(one),
              sizeText(one.sizeBytes),
              one.mount?.dir ?? '',
              one.since,
            ]),
          ),
    )
  },
}

export const stats: Command = {
  synopsis: 'stats [DISK]',
  summary:
    'What attached disks have fetched, and from where: of one by its id, its name with or without the version, or its mount point, or of all.',
  run: async (args, out) => {
    const [wanted] = parse(args, {}, [0, 1]).positionals
    const runDir = ownRunDirectory()
    const ids =
      wanted === undefined
        ? (await listDisks(runDir)).filter(({ state }) => state === 'serving').map(({ id }) => id)
        : [wanted]
    const disks = await Promise.all(ids.map((id) => statsOfDisk(runDir, id)))
    out.result({ disks: disks.map(({ disk, stats }) => ({ id: disk.id, name: disk.name, ...stats })) }, () =>
      disks.length === 0
        ? 'No disk is attached.'
        : table(
            [
              'DISK',
              'NAME',
              'FETCHED',
              'FROM CACHE',
              'REQUESTS',
              'HITS',
              'DAMAGED',
              'WRITTEN',
              'LOCAL',
              'DATA CENTRE',
            ],
            disks.map(({ disk, stats }) => [disk.id, disk.name, ...figures(stats)]),
          ),
    )
  },
}

export const detach: Command = {
  synopsis: 'detach DISK [--force]',
  summary:
    'Flush, unmount and close a disk, by its id, its name with or without the version, or its mount point. With --force also one that programs use: what they have open fails then.',
  run: async (args, out) => {
    const words = parse(args, { force: { type: 'boolean' } }, [1, 1])
    const { disk, lazily } = await detachDisk(
      ownRunDirectory(),
      words.positionals[0] ?? '',
      words.flag('force'),
    )
    out.result({ id: disk.id, name: disk.name, lazily }, () =>
      lazily
        ? `Detached ${disk.name}. Programs still had it; what they wrote last may be lost.`
        : `Detached ${disk.name}.`,
    )
  },
}

function ownRunDirectory(): string {
  return runDirectory(process.env, process.getuid?.())
}

function stateOf({ readOnly }: AttachedDisk): string {
  return readOnly ? 'read-only' : 'writable'
}

function figures({
  bytesFetched,
  bytesFromCache,
  requests,
  hits,
  misses,
  damaged,
  bytesWritten,
  percentLocal,
  replica,
}: DiskStats): readonly string[] {
  return [
    sizeText(bytesFetched),
    sizeText(bytesFromCache),
    String(requests),
    hits + misses === 0 ? '' : `${Math.floor((100 * hits) / (hits + misses))} %`,
    String(damaged),
    bytesWritten === undefined ? '' : sizeText(bytesWritten),
    percentLocal === undefined ? '' : `${percentLocal} %`,
    replicaText(replica),
  ]
}
