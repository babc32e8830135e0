import { execFile } from 'node:child_process'
import { chmod, cp, mkdir, mkdtemp, open, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import { compareFiles, type Files, listFiles } from '#core/filesystem/index.ts'
import { memorySource } from '#core/image/memory.fixture.ts'

/** Files as mke2fs wrote them, read and compared by our own reader. */

const run = promisify(execFile)
const kinds = [
  ['ext2', ['-b', '1024']],
  ['ext3', ['-b', '1024', '-O', '^has_journal']],
  ['ext4', ['-b', '4096']],
  ['ext4', ['-b', '1024', '-O', '^64bit', '-I', '128']],
] as const
let folder: string
const images = new Map<string, Uint8Array>()

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'file-changes-'))
  const before = join(folder, 'before')
  await mkdir(join(before, 'etc/many'), { recursive: true })
  await writeFile(join(before, 'etc/hosts'), '127.0.0.1 localhost\n')
  await writeFile(join(before, 'etc/gone'), 'gone')
  await writeFile(join(before, 'etc/same'), 'same')
  await writeFile(join(before, 'etc/tool'), '#!/bin/sh\n')
  // More than the blocks that an inode names itself, with a hole in front.
  await writeFile(join(before, 'large'), Buffer.alloc(700_000, 'a'))
  await truncate(join(before, 'large'), 3_000_000)
  await symlink('hosts', join(before, 'etc/link'))
  await symlink('x'.repeat(200), join(before, 'etc/long-link'))
  for (let number = 0; number < 400; number++)
    await writeFile(join(before, `etc/many/${number}-${'n'.repeat(40)}`), '')
  const after = join(folder, 'after')
  await cp(before, after, { recursive: true, verbatimSymlinks: true })
  await rm(join(after, 'etc/gone'))
  await writeFile(join(after, 'etc/new ü'), 'new')
  await writeFile(join(after, 'etc/hosts'), '127.0.0.2 localhost\n')
  await chmod(join(after, 'etc/tool'), 0o4755)
  await run('setcap', ['cap_net_raw,cap_sys_admin+ep', join(after, 'etc/same')])
  await rm(join(after, 'etc/link'))
  await symlink('etcetera', join(after, 'etc/link'))
  const large = await readFile(join(after, 'large'))
  large[699_999] = 1
  await writeFile(join(after, 'large'), large)
  for (const [type, options] of kinds)
    for (const side of ['before', 'after']) {
      const image = join(folder, 'image')
      await run('mke2fs', ['-q', '-t', type, ...options, '-d', join(folder, side), image, '24M'])
      images.set(`${type} ${options.join(' ')} ${side}`, await readFile(image))
      await rm(image)
    }
}, 120_000)

afterAll(async () => {
  await rm(folder, { recursive: true })
})

async function changed(older: Files, newer: Files) {
  return (await compareFiles(older, newer, () => false)).map(({ path, what }) => [path, what.join()])
}

/** Changes a file system as only a tool for that can. */
async function debugfs(image: string, ...commands: readonly string[]): Promise<void> {
  for (const command of commands) await run('debugfs', ['-w', '-R', command, image])
}

async function filesOf(key: string): Promise<Files> {
  const bytes = images.get(key) ?? new Uint8Array(0)
  return listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) })
}

test.each(kinds)('what was done to the files of an %s is what is found (%s)', async (type, options) => {
  const key = `${type} ${options.join(' ')}`
  const changes = await compareFiles(
    await filesOf(`${key} before`),
    await filesOf(`${key} after`),
    () => false,
  )
  const seen = changes.map((one) => [one.path, one.change, one.what.join(), one.mode & 0o7777])
  expect(seen).toEqual([
    ['/etc/gone', 'removed', '', 0o644],
    ['/etc/hosts', 'changed', 'content', 0o644],
    ['/etc/link', 'changed', 'content', 0o777],
    ['/etc/new ü', 'added', '', 0o644],
    ['/etc/same', 'changed', 'attributes', 0o644],
    ['/etc/tool', 'changed', 'mode', 0o4755],
    ['/large', 'changed', 'content', 0o644],
  ])
  expect(changes.filter(({ capabilities }) => capabilities.length > 0)).toMatchObject([
    { path: '/etc/same', capabilities: ['cap_net_raw', 'cap_sys_admin'] },
  ])
})

test('attributes are compared wherever they lie: in the inode, in a block, in a file of their own', async () => {
  const image = join(folder, 'image')
  await run('mke2fs', [
    '-q',
    '-t',
    'ext4',
    '-b',
    '1024',
    '-O',
    'ea_inode',
    '-d',
    join(folder, 'before'),
    image,
    '24M',
  ])
  await writeFile(join(folder, 'value'), Buffer.alloc(1000, 'v'))
  const written = async (...commands: readonly string[]): Promise<Files> => {
    await debugfs(image, ...commands)
    const bytes = await readFile(image)
    return await listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) })
  }
  const none = await written()
  const one = await written('ea_set etc/hosts user.a 1', 'ea_set etc/hosts user.b 2')
  expect(await changed(none, one)).toEqual([['/etc/hosts', 'attributes']])
  expect(await changed(one, none)).toEqual([['/etc/hosts', 'attributes']])
  const other = await written('ea_set etc/hosts user.b 3')
  expect(await changed(one, other)).toEqual([['/etc/hosts', 'attributes']])
  const sameAgain = await written(
    'ea_rm etc/hosts user.a',
    'ea_set etc/hosts user.b 2',
    'ea_set etc/hosts user.a 1',
  )
  expect(await changed(one, sameAgain)).toEqual([])
  const large = await written(`ea_set -f ${join(folder, 'value')} etc/hosts user.large`)
  await writeFile(join(folder, 'value'), Buffer.concat([Buffer.alloc(999, 'v'), Buffer.from('w')]))
  const larger = await written(`ea_set -f ${join(folder, 'value')} etc/hosts user.large`)
  expect(await changed(one, large)).toEqual([['/etc/hosts', 'attributes']])
  expect(await changed(large, larger)).toEqual([['/etc/hosts', 'attributes']])
})

test('a folder with two entries of one name is refused: one would be seen and the other one opened', async () => {
  const image = join(folder, 'image')
  await writeFile(image, images.get('ext4 -b 4096 before') ?? '')
  await debugfs(image, 'mkdir evil', 'link etc/tool evil/hosts', 'link etc/hosts evil')
  const bytes = await readFile(image)
  await expect(
    listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) }),
  ).rejects.toMatchObject({ code: 'FILES_CORRUPT', message: expect.stringContaining('/evil/hosts') })
})

test('what a file does not hold is not looked through, however large it is', async () => {
  const tree = join(folder, 'sparse')
  await mkdir(tree)
  const sizeBytes = 8 * 2 ** 40
  const imageOf = async (end: string): Promise<Files> => {
    const image = join(folder, 'image')
    await using file = await open(join(tree, 'sparse'), 'w')
    await file.write(end, sizeBytes - end.length)
    await rm(image, { force: true })
    await run('mke2fs', ['-q', '-t', 'ext4', '-b', '4096', '-d', tree, image, '4M'])
    const bytes = await readFile(image)
    return await listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) })
  }
  const [before, after] = [await imageOf('before'), await imageOf('after!')]
  expect(await compareFiles(before, before, () => false)).toEqual([])
  expect(await compareFiles(before, after, () => false)).toMatchObject([
    { path: '/sparse', change: 'changed', what: ['content'], sizeBytes },
  ])
})

test('of a volume that says that it is of 64 TiB only what is used is read', async () => {
  const bytes = Uint8Array.from(images.get('ext4 -b 4096 before') ?? [])
  const head = new DataView(bytes.buffer, 1024)
  const sizeBytes = 2 ** 46
  head.setUint32(0x4, 0, true)
  head.setUint32(0x150, sizeBytes / 4096 / 2 ** 32, true)
  head.setUint32(0x20, 256, true)
  let reads = 0
  const source = {
    ...memorySource(bytes),
    sizeBytes: BigInt(sizeBytes),
    read: async (offset: bigint, length: number) => {
      reads++
      const read = new Uint8Array(length)
      read.set(bytes.subarray(Number(offset), Number(offset) + length))
      return read
    },
  }
  const { entries } = await listFiles(source, { offset: 0n, sizeBytes: BigInt(sizeBytes) })
  expect(entries.has('/etc/hosts')).toBe(true)
  expect(reads).toBeLessThan(2000)
})

test('folders that are larger together than all names that a volume may have are refused', async () => {
  const tree = join(folder, 'folders')
  for (let number = 0; number < 20; number++) await mkdir(join(tree, `f${number}`), { recursive: true })
  const image = join(folder, 'image')
  await rm(image, { force: true })
  await run('mke2fs', ['-q', '-t', 'ext4', '-b', '4096', '-d', tree, image, '4M'])
  // Holes, which read as entries of 64 KiB that name nothing.
  await debugfs(
    image,
    ...Array.from({ length: 20 }, (_, number) => `sif f${number} size ${2 ** 28 - 61_440}`),
  )
  const bytes = await readFile(image)
  await expect(
    listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) }),
  ).rejects.toMatchObject({ code: 'FILES_CORRUPT', message: expect.stringContaining('too large') })
})

test('names that are not UTF-8 stay different', async () => {
  const tree = join(folder, 'latin')
  await mkdir(tree)
  for (const byte of [0xe4, 0xf6])
    await writeFile(Buffer.concat([Buffer.from(`${tree}/n`), Buffer.from([byte])]), '')
  const image = join(folder, 'image')
  await rm(image)
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', tree, image, '4M'])
  const bytes = await readFile(image)
  const { entries } = await listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) })
  expect([...entries.keys()]).toEqual(expect.arrayContaining(['/n\\xe4', '/n\\xf6']))
})

test('what debugfs calls a file is what is listed', async () => {
  const image = join(folder, 'image')
  await writeFile(image, images.get('ext4 -b 4096 before') ?? '')
  const { stdout } = await run('debugfs', ['-R', 'ls -p /etc/many', image], { maxBuffer: 1 << 24 })
  const theirs = stdout
    .split('\n')
    .map((line) => line.split('/')[5] ?? '')
    .filter((name) => name !== '' && !name.startsWith('.'))
  const { entries } = await filesOf('ext4 -b 4096 before')
  const ours = [...entries.keys()]
    .filter((path) => path.startsWith('/etc/many/'))
    .map((path) => path.slice(10))
  expect(ours.toSorted()).toEqual(theirs.toSorted())
  expect(ours).toHaveLength(400)
})

test('a disk that is none, and one whose journal waits, say so', async () => {
  const journal = Uint8Array.from(images.get('ext4 -b 4096 before') ?? [])
  journal[1024 + 0x60] = (journal[1024 + 0x60] ?? 0) | 0x4
  for (const [bytes, why] of [
    [new Uint8Array(100), 'too small'],
    [new Uint8Array(1 << 20), 'not ext2'],
    [journal, 'journal'],
  ] as const)
    await expect(
      listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) }),
    ).rejects.toMatchObject({
      code: 'FILES_UNREADABLE',
      message: expect.stringContaining(why),
    })
})

test('however it is damaged, it is listed or refused with a code', async () => {
  const whole = images.get('ext4 -b 1024 -O ^64bit -I 128 before') ?? new Uint8Array(0)
  // Where the superblock, the descriptors, the inodes and the folders lie.
  const place = fc.nat({ max: 400 * 1024 })
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(place, fc.nat({ max: 255 })), { minLength: 1, maxLength: 30 }),
      async (edits) => {
        const bytes = Uint8Array.from(whole)
        for (const [at, value] of edits) bytes[1024 + at] = value
        try {
          const files = await listFiles(memorySource(bytes), { offset: 0n, sizeBytes: BigInt(bytes.length) })
          await compareFiles(files, files, () => false)
        } catch (error) {
          expect(isCoded(error), String(error)).toBe(true)
        }
      },
    ),
    { numRuns: 150 },
  )
})
