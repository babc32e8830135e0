import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import {
  copyFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import { buildVhd } from '#core/image/vhd/vhd.fixture.ts'
import { openDiskFile } from './index.ts'

const run = promisify(execFile)
const mebibyte = 1_048_576
let folder: string
/** Where the disk lies; beside it are files that are nobody's business. */
let disks: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'disk-file-'))
  disks = join(folder, 'disks')
  await mkdir(disks)
  await writeFile(join(folder, 'secret.raw'), new Uint8Array(mebibyte).fill(83))
})

afterEach(() => rm(folder, { recursive: true }))

const at = (name: string): string => join(disks, name)
const qemuImg = (...words: readonly string[]) => run('qemu-img', words, { cwd: disks })
const qemuIo = (file: string, format: string, ...commands: readonly string[]) =>
  run('qemu-io', ['-f', format, ...commands.flatMap((command) => ['-c', command]), at(file)])

/** Some sparse disk of `sizeBytes`. */
async function rawDisk(name: string, sizeBytes: number): Promise<void> {
  await using file = await open(at(name), 'w')
  await file.truncate(sizeBytes)
  await file.write(new Uint8Array(70_000).fill(1), 0, 70_000, 0)
  await file.write(new Uint8Array(70_000).fill(2), 0, 70_000, sizeBytes - 70_000)
}

async function contentOf(name: string): Promise<Uint8Array> {
  const { device } = await openDiskFile(at(name))
  await using disk = device
  return await disk.read(0n, Number(disk.sizeBytes))
}

async function expectSame(name: string, raw: string): Promise<void> {
  expect(Buffer.compare(await contentOf(name), await readFile(at(raw)))).toBe(0)
}

/** Alters a part of a file, which qemu-img would not write like this. */
async function exchange(file: string, part: Buffer, other: Buffer): Promise<void> {
  expect(other.length).toBe(part.length)
  const bytes = await readFile(at(file))
  const start = bytes.indexOf(part)
  expect(start).toBeGreaterThan(0)
  other.copy(bytes, start)
  await writeFile(at(file), bytes)
}

async function expectRefused(name: string, message: RegExp, code = 'DISK_FILE_PART_MISSING'): Promise<void> {
  const opening = openDiskFile(at(name))
  await expect(opening).rejects.toMatchObject({ code, remedy: expect.any(String) })
  await expect(opening).rejects.toThrow(message)
}

test.each([
  ['qcow2', []],
  ['vmdk', ['-o', 'subformat=monolithicSparse']],
  ['vmdk', ['-o', 'subformat=monolithicFlat']],
  ['vmdk', ['-o', 'subformat=twoGbMaxExtentSparse']],
  ['vmdk', ['-o', 'subformat=streamOptimized']],
] as const)('%s %s is read as what it was made of', async (format, options) => {
  await rawDisk('disk.raw', 40 * mebibyte)
  await qemuImg('convert', '-f', 'raw', '-O', format, ...options, 'disk.raw', `disk.${format}`)
  await expectSame(`disk.${format}`, 'disk.raw')
})

test.each(['raw', 'vhd'] as const)(
  '%s: what was read is free once it is done with, and nothing else',
  async (format) => {
    await rawDisk('disk.raw', 8 * mebibyte)
    if (format === 'vhd') await qemuImg('convert', '-f', 'raw', '-O', 'vpc', 'disk.raw', 'disk.vhd')
    const { device } = await openDiskFile(at(`disk.${format}`))
    await using disk = device
    // Of one part of the file, and put together of several.
    for (const length of [65_536, 6 * mebibyte]) {
      const [done, held] = [await disk.read(0n, length), await disk.read(0n, length)]
      const before = Uint8Array.from(held)
      const foreign = Uint8Array.from(held)
      for (const bytes of [done, done, foreign]) disk.done?.(bytes)
      expect([done.length, foreign.length]).toEqual([0, length])
      expect(Buffer.compare(held, before)).toBe(0)
      expect(Buffer.compare(await disk.read(0n, length), before)).toBe(0)
    }
  },
)

test('what a disk is unpacked into has no name while it is read: of a process that is killed then nothing stays', async () => {
  await rawDisk('disk.raw', 4 * mebibyte)
  await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'disk.qcow2')
  await mkdir(join(folder, 'tmp'))
  vi.stubEnv('TMPDIR', join(folder, 'tmp'))
  try {
    const { device } = await openDiskFile(at('disk.qcow2'))
    await using disk = device
    expect(await readdir(join(folder, 'tmp'))).toEqual([])
    expect(await disk.read(0n, 10)).toEqual(Buffer.alloc(10, 1))
  } finally {
    vi.unstubAllEnvs()
  }
})

test('a VMDK of several extents is read whole', async () => {
  await qemuImg('create', '-q', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', 'disk.vmdk', '3G')
  await qemuIo('disk.vmdk', 'vmdk', 'write -P 5 0 64k', 'write -P 6 2500M 64k')
  const { device } = await openDiskFile(at('disk.vmdk'))
  await using disk = device
  expect(await disk.read(0n, 65_536)).toEqual(Buffer.alloc(65_536, 5))
  expect(await disk.read(BigInt(2500 * mebibyte), 65_536)).toEqual(Buffer.alloc(65_536, 6))
})

test('what qcow2 files in one folder say of each other is followed', async () => {
  await rawDisk('base.raw', 4 * mebibyte)
  await qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', 'mid.qcow2')
  await qemuImg('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', at('mid.qcow2'), 'top.qcow2')
  await qemuIo('mid.qcow2', 'qcow2', 'write -P 3 1M 64k')
  await qemuIo('top.qcow2', 'qcow2', 'write -P 4 2M 64k')
  await qemuImg('convert', '-f', 'qcow2', '-O', 'raw', 'top.qcow2', 'expected.raw')
  await expectSame('top.qcow2', 'expected.raw')
  await symlink(at('top.qcow2'), join(folder, 'link.qcow2'))
  await expectSame('../link.qcow2', 'expected.raw')
})

test('a VMDK over another is read', async () => {
  await rawDisk('disk.raw', 4 * mebibyte)
  await qemuImg('convert', '-f', 'raw', '-O', 'vmdk', 'disk.raw', 'base.vmdk')
  await qemuImg('create', '-q', '-f', 'vmdk', '-F', 'vmdk', '-b', 'base.vmdk', 'top.vmdk')
  await qemuIo('top.vmdk', 'vmdk', 'write -P 4 2M 64k')
  await qemuImg('convert', '-f', 'vmdk', '-O', 'raw', 'top.vmdk', 'expected.raw')
  await expectSame('top.vmdk', 'expected.raw')
})

test('a qcow2 whose data is in a file beside it is read', async () => {
  await rawDisk('disk.raw', 4 * mebibyte)
  await copyFile(at('disk.raw'), at('data.raw'))
  await qemuImg(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    'data_file=data.raw,data_file_raw=on',
    'disk.qcow2',
    '4M',
  )
  await copyFile(at('disk.raw'), at('data.raw'))
  const written = ['write -P 7 1M 64k', 'write -P 8 3M 64k']
  await run('qemu-io', ['-f', 'qcow2', ...written.flatMap((word) => ['-c', word]), 'disk.qcow2'], {
    cwd: disks,
  })
  await qemuImg('convert', '-f', 'qcow2', '-O', 'raw', 'disk.qcow2', 'expected.raw')
  await expectSame('disk.qcow2', 'expected.raw')
})

/** Parents and children of 4 MiB; a disk is told by its first sector. */
const shape = { sizeBytes: 4 * mebibyte, blockBytes: 2 * mebibyte }
const parentId = randomUUID()
const disk = (fill: number, uniqueId = parentId): Uint8Array =>
  buildVhd({ ...shape, uniqueId, sectors: new Map([[0, fill]]) })

/** @param modifiedSeconds when its parent had last changed, since 2000 */
async function writeChild(modifiedSeconds = 0): Promise<void> {
  const paths = [{ platform: 'W2ru', path: 'C:\\elsewhere\\parent.vhd' }]
  const parent = { uniqueId: parentId, name: 'parent.vhd', paths, modifiedSeconds }
  await writeFile(
    at('child.vhd'),
    buildVhd({ ...shape, uniqueId: randomUUID(), sectors: new Map([[1, 8]]), parent }),
  )
}

/** The first sectors of the child, with parents in one more folder. */
async function firstSectors(): Promise<Buffer> {
  const { device } = await openDiskFile(at('child.vhd'), { parentFolders: [join(folder, 'parents')] })
  await using child = device
  return Buffer.from(await child.read(0n, 1536))
}

const sectors = (fill: number): Buffer =>
  Buffer.concat([Buffer.alloc(512, fill), Buffer.alloc(512, 8), Buffer.alloc(512)])

test('the parent of a differencing VHD is found beside it, or in a folder that was named', async () => {
  await writeChild()
  await expect(firstSectors()).rejects.toMatchObject({ code: 'IMAGE_PARENT_MISSING' })
  await mkdir(join(folder, 'parents'))
  await writeFile(join(folder, 'parents/parent.vhd'), disk(2))
  expect(await firstSectors()).toEqual(sectors(2))
  await writeFile(at('parent.vhd'), disk(1))
  expect(await firstSectors()).toEqual(sectors(1))
})

test.each([
  ['another disk', disk(1, randomUUID())],
  ['something broken', disk(1).subarray(0, 1000)],
  ['no disk', new Uint8Array(10)],
])(
  '%s beside the child, with the name of its parent, does not hide the parent elsewhere',
  async (_, file) => {
    await writeChild()
    await writeFile(at('parent.vhd'), file)
    await expect(firstSectors()).rejects.toMatchObject({ code: expect.stringMatching(/^IMAGE_/u) })
    await mkdir(join(folder, 'parents'))
    await writeFile(join(folder, 'parents/parent.vhd'), disk(2))
    expect(await firstSectors()).toEqual(sectors(2))
  },
)

test('a parent that was written to since is refused, and one of the right time preferred', async () => {
  await writeChild(1000)
  await mkdir(join(folder, 'parents'))
  await writeFile(at('parent.vhd'), disk(1))
  await expect(firstSectors()).rejects.toMatchObject({
    code: 'IMAGE_PARENT_MISMATCH',
    remedy: expect.stringContaining('touch -d @946685800'),
  })
  await writeFile(join(folder, 'parents/parent.vhd'), disk(2))
  await run('touch', ['-d', '@946685800', join(folder, 'parents/parent.vhd')])
  expect(await firstSectors()).toEqual(sectors(2))
})

test('a file that is refused is closed', async () => {
  await writeChild()
  await writeFile(at('parent.vhd'), disk(1, randomUUID()))
  await expect(openDiskFile(at('child.vhd'))).rejects.toThrow()
  await rawDisk('disk.raw', 40 * mebibyte)
  await expect(openDiskFile(at('disk.raw'), { signal: AbortSignal.abort() })).rejects.toThrow()
  const open = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  expect(open.filter((path) => path.startsWith(folder))).toEqual([])
})

test('a sparse raw file has the holes that its file system knows', async () => {
  await rawDisk('disk.raw', 40 * mebibyte)
  const { device, format } = await openDiskFile(at('disk.raw'))
  await using disk = device
  expect(format).toBe('raw')
  const extents = await disk.extents(0n, 40 * mebibyte)
  expect(extents.map(({ kind }) => kind)).toEqual(['data', 'hole', 'data'])
  expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(40 * mebibyte)
  expect(extents[1]?.length).toBeGreaterThan(39 * mebibyte)
})

test.each([
  ['options of QEMU', 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/hostname"}}'],
  ['a server', 'nbd:localhost:1'],
  ['an address of a server', 'nbd://localhost:1/disk'],
  ['a file by its protocol', 'file:secret.raw'],
  ['a file elsewhere', '/etc/hostname'],
  ['a file above', '../secret.raw'],
  ['a file that is not there', 'absent.raw'],
  ['the folder above', '..'],
  ['a symbolic link that leads elsewhere', 'link.raw'],
])('a qcow2 over %s is refused', async (_, backing) => {
  await symlink('../secret.raw', at('link.raw'))
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', backing, 'disk.qcow2', '1M')
  await expectRefused('disk.qcow2', /which is not a file beside it/)
})

test('a disk beside the disk may name no file elsewhere either', async () => {
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/hostname', 'mid.qcow2', '1M')
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'mid.qcow2', 'top.qcow2', '1M')
  await expectRefused('top.qcow2', /mid\.qcow2 .* names \/etc\/hostname/)
})

test('a disk over one of another format, or of a format that is not named, is refused', async () => {
  await rawDisk('base.raw', mebibyte)
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'vhdx', '-b', 'base.raw', 'disk.qcow2', '1M')
  await expectRefused(
    'disk.qcow2',
    /is vhdx, and expected was one of raw, qcow2, vmdk/,
    'DISK_FILE_NOT_CONVERTED',
  )
  // The header extension that names the format becomes one that nobody knows, which readers pass over.
  await exchange('disk.qcow2', Buffer.from('e2792aca', 'hex'), Buffer.from('77777777', 'hex'))
  await expectRefused(
    'disk.qcow2',
    /is of no named format, and expected was one of raw, qcow2, vmdk/,
    'DISK_FILE_NOT_CONVERTED',
  )
})

test('a raw disk is never taken for one that names files', async () => {
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/hostname', 'base.raw', '1M')
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', 'disk.qcow2', '1M')
  const base = await readFile(at('base.raw'))
  expect(Buffer.compare((await contentOf('disk.qcow2')).subarray(0, base.length), base)).toBe(0)
})

/** One of a tower of disks: as long as any other. */
const inTower = (number: number): string => `${number + 10}.qcow2`

test('disks that lie over themselves, and towers of disks, are refused', async () => {
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'b.qcow2', 'a.qcow2', '1M')
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'a.qcow2', 'b.qcow2', '1M')
  await expectRefused('a.qcow2', /lies under itself/, 'IMAGE_CHAIN_CYCLIC')
  await qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', inTower(65), inTower(0), '1M')
  for (let number = 1; number < 65; number++) {
    await copyFile(at(inTower(0)), at(inTower(number)))
    await exchange(inTower(number), Buffer.from(inTower(65)), Buffer.from(inTower(number + 1)))
  }
  await exchange(inTower(0), Buffer.from(inTower(65)), Buffer.from(inTower(1)))
  await qemuImg('create', '-q', '-f', 'qcow2', inTower(65), '1M')
  await expectRefused(inTower(0), /more than 64 disks lie over/, 'IMAGE_CHAIN_TOO_LONG')
  expect((await contentOf(inTower(2))).length).toBe(mebibyte)
})

test.each(['/etc/hostname', '../secret.raw', 'link.raw'])(
  'a VMDK with the extent %s is refused',
  async (name) => {
    await vmdkOver(name)
    await expectRefused('disk.vmdk', /which is not a file beside it/)
  },
)

test.each(['nbd:localhost:1', 'file:secret.raw'])('an extent %s of a VMDK is a file name', async (name) => {
  await vmdkOver(name)
  await expectRefused('disk.vmdk', /Could not open .*: No such file/, 'DISK_FILE_NOT_CONVERTED')
})

/** Makes a VMDK of one extent, and a symbolic link beside it. */
async function vmdkOver(name: string): Promise<void> {
  await symlink('../secret.raw', at('link.raw'))
  const lines = ['# Disk DescriptorFile', 'version=1', 'CID=2c8f4fdf', 'parentCID=ffffffff']
  const extent = ['createType="monolithicFlat"', `RW 1 FLAT "${name}" 0`, '']
  await writeFile(at('disk.vmdk'), [...lines, ...extent].join('\n'))
}

test.each(['/etc/hostname', '../secret.raw', 'json:{"driver":"null-co"}', 'nbd:localhost:1'])(
  'a qcow2 whose data is in %s is refused',
  async (name) => {
    const placeholder = 'x'.repeat(name.length)
    await qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${placeholder}`, 'disk.qcow2', '1M')
    await exchange('disk.qcow2', Buffer.from(placeholder), Buffer.from(name))
    await expectRefused('disk.qcow2', /which is not a file beside it/)
  },
)

describe.each([
  ['qcow2', []],
  ['qcow2', ['-c']],
  ['vmdk', []],
  ['vmdk', ['-o', 'subformat=streamOptimized']],
] as const)('a %s of qemu-img %s', (format, options) => {
  const name = `disk.${format}`
  let original: Buffer

  beforeEach(async () => {
    await rawDisk('disk.raw', 4 * mebibyte)
    await writeFile(at('disk.raw'), randomBytes(mebibyte), { flag: 'r+' })
    await qemuImg('convert', '-f', 'raw', '-O', format, ...options, 'disk.raw', name)
    original = await readFile(at(name))
  })

  /** @returns what it reads as, or undefined when it is refused with a code */
  async function contentOrRefused(file: Uint8Array): Promise<Uint8Array | undefined> {
    await writeFile(at(name), file)
    try {
      const { device } = await openDiskFile(at(name))
      await using disk = device
      return await disk.read(0n, Math.min(Number(disk.sizeBytes), 8 * mebibyte))
    } catch (error) {
      if (isCoded(error) && error.remedy !== undefined) return undefined
      throw error
    }
  }

  test('that is cut off anywhere is refused, or reads as what it was made of', async () => {
    const raw = await readFile(at('disk.raw'))
    const last = original.length - 512
    const cut = fc.oneof(
      fc.nat(last),
      fc.nat(262_144),
      fc.nat(65_535).map((end) => last - end),
    )
    await fc.assert(
      fc.asyncProperty(cut, async (end) => {
        const content = await contentOrRefused(original.subarray(0, end))
        if (content !== undefined) expect(Buffer.compare(content, raw)).toBe(0)
      }),
      { numRuns: 12 },
    )
  })

  test('with any changes of its structures is refused, or reads', async () => {
    const structures = [0, 4096, 65_536, 131_072, 196_608, 262_144].filter((start) => start < original.length)
    const change = fc.record({
      start: fc.constantFrom(...structures),
      within: fc.nat(600),
      bytes: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.constantFrom(new Uint8Array(8), new Uint8Array(8).fill(0xff)),
      ),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const file = Buffer.from(original)
        for (const { start, within, bytes } of changes)
          file.set(bytes, Math.min(start + within, file.length - 8))
        await contentOrRefused(file)
      }),
      { numRuns: 15 },
    )
  })
})
