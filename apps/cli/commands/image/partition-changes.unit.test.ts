import { expect, test } from 'vitest'
import type { FileChange } from '#core/filesystem/index.ts'
import { changesText, type PartitionChange } from './partition-changes.ts'

/** What a signer reads of the files. */
const diff = {
  changedBytes: 4096,
  clearedBytes: 0,
  sameBytes: 8192,
  changedStoredBytes: 100,
  ranges: [],
  isCut: false,
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
  const shown = changesText({ diff, scheme: 'gpt', partitions: [partition([], 'linux (\u001b[1A)')] })
  expect(shown.join('\n')).not.toContain('\u001b')
  expect(textOf({ unreadable: 'the folder /\u001b[1A is inside itself' })).toEqual([
    'files of partition 1: the folder /?[1A is inside itself',
  ])
})

function textOf(files: PartitionChange['files']): readonly string[] {
  const lines = changesText({ diff, scheme: 'dos', partitions: [partition(files, 'linux')] })
  return lines.slice(lines.findIndex((line) => line.startsWith('files')))
}

function partition(files: PartitionChange['files'], type: string): PartitionChange {
  return { number: 1, type, offset: 0, sizeBytes: 1 << 20, changedBytes: 4096, files }
}

function file(of: Partial<FileChange> & Pick<FileChange, 'path'>): FileChange {
  return { change: 'added', what: [], mode: 0o100755, sizeBytes: 0, capabilities: [], ...of }
}
