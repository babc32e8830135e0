import { expect, test } from 'vitest'
import { importDevice, memoryStore, openDevice } from '#core/artifact/artifact.fixture.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import type { FileChange } from '#core/filesystem/index.ts'
import { changesBetween, changesText, type PartitionChange } from './partition-changes.ts'

/** What a signer reads of the files. */
const diff = {
  changedBytes: 4096,
  clearedBytes: 0,
  sameBytes: 8192,
  changedStoredBytes: 100,
  ranges: [],
  isCut: false,
}
const changes = {
  diff,
  scheme: 'gpt',
  partitions: [],
  outside: { sizeBytes: 0, changedBytes: 0 },
  before: [],
}

test('what runs with more rights than who starts it is read first', () => {
  const lines = textOf([
    file({ path: '/etc/hosts', change: 'changed', what: ['content'], sizeBytes: 20 }),
    file({ path: '/usr/bin/ping', change: 'changed', what: ['attributes'], capabilities: ['cap_net_raw'] }),
    file({ path: '/usr/bin/sudo', change: 'changed', what: ['mode'], mode: 0o104755, sizeBytes: 2048 }),
    file({ path: '/usr/old', change: 'removed' }),
  ])
  expect(lines).toEqual([
    'files of partition 1: 0 added, 3 changed, 1 removed',
    '  ~ /usr/bin/ping  0 B  (attributes; runs with cap_net_raw)',
    '  ~ /usr/bin/sudo  2.0 KiB  (mode; runs as its owner: 4755)',
    '  ~ /etc/hosts  20 B',
    '  - /usr/old',
  ])
})

test('of very many files the first are shown, with how many are left, and none of those that matter most is left', () => {
  const many = Array.from({ length: 100 }, (_, number) => file({ path: `/many/${number}` }))
  const lines = textOf([...many, file({ path: '/z', mode: 0o102755 })])
  expect(lines[1]).toBe('  + /z  0 B  (runs as its owner: 2755)')
  expect(lines).toHaveLength(62)
  expect(lines.at(-1)).toBe('  and 41 more, all of them with: trustcast image diff OLDER NEWER --json')
})

test('no name moves the cursor or turns the direction of what is read', () => {
  const path = '/usr/\u001b[2K\rbin/\u202egnp\u200b.\u0085é'
  expect(textOf([file({ path })])[1]).toBe('  + /usr/?[2K?bin/?gnp?.?é  0 B')
  const shown = changesText({ ...changes, partitions: [partition([], 'linux (\u001b[1A)')] })
  expect(shown.join('\n')).not.toContain('\u001b')
  expect(textOf({ unreadable: 'the folder /\u001b[1A is inside itself' })).toEqual([
    'files of partition 1: the folder /?[1A is inside itself',
  ])
})

test('boot code, and partitions that went or moved, are seen though all that is left is the same', async () => {
  const store = memoryStore()
  const open = async (version: string, disk: Uint8Array) => {
    const { manifestDigest } = await importDevice(memoryDevice(disk, false), store, { version })
    return openDevice(manifestDigest, [store], { reference: { name: 'disk', version } })
  }
  const parts = [
    [0x83, 2048, 1024],
    [0x83, 4096, 1024],
    [0x07, 6144, 1024],
  ] as const
  await using older = await open('1', diskOf(0, parts))
  await using newer = await open('2', diskOf(1, [parts[0], undefined, [0x07, 6144, 512]]))
  const text = changesText(await changesBetween(older, newer))
  expect(text.slice(2)).toEqual([
    'partition  type                size     changed',
    '1          83                  512 KiB  0 B',
    '3          07                  256 KiB  0 B',
    '           outside partitions  3.3 MiB  64.0 KiB',
    'partition 2 is gone: it was 83, 512 KiB at 2097152',
    'partition 3 is another: it was 07, 512 KiB at 3145728',
  ])
})

/** 4 MiB with boot code and partitions of a type, from a sector on, of so many. */
function diskOf(
  bootCode: number,
  partitions: readonly (readonly [type: number, start: number, sectors: number] | undefined)[],
): Uint8Array {
  const disk = new Uint8Array(4 * 1024 * 1024)
  const view = new DataView(disk.buffer)
  disk[0] = bootCode
  for (const [index, [type, start, sectors] = [0, 0, 0]] of partitions.entries()) {
    view.setUint8(446 + index * 16 + 4, type)
    view.setUint32(446 + index * 16 + 8, start, true)
    view.setUint32(446 + index * 16 + 12, sectors, true)
  }
  view.setUint16(510, 0x55_aa)
  return disk
}

function textOf(files: PartitionChange['files']): readonly string[] {
  const lines = changesText({ ...changes, partitions: [partition(files, 'linux')] })
  return lines.slice(lines.findIndex((line) => line.startsWith('files')))
}

function partition(files: PartitionChange['files'], type: string): PartitionChange {
  return { number: 1, type, offset: 0, sizeBytes: 1 << 20, changedBytes: 4096, files }
}

function file(of: Partial<FileChange> & Pick<FileChange, 'path'>): FileChange {
  return { change: 'added', what: [], mode: 0o100755, sizeBytes: 0, capabilities: [], ...of }
}

test('whoever ends a comparison is not told that something cannot be shown', async () => {
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(diskOf(0, []), false), store)
  await using image = await openDevice(manifestDigest, [store])
  await expect(changesBetween(image, image, AbortSignal.abort())).rejects.toThrow('aborted')
})
