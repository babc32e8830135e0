import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { NbdServer } from '#adapters/nbd-server/index.ts'
import { openDiscardedSlots, openKeptSlots } from '#adapters/overlay-file/index.ts'
import { type BlockDevice, type ByteSource, requireRange } from '#core/block/block-device.ts'
import { patternedDisk } from '#core/block/disk.fixture.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { memorySlots } from '#core/block/memory-slots.ts'
import { overlay, overlayBlocks } from '#core/block/overlay.ts'
import { sliced } from '#core/block/sliced.ts'
import type { SlotStore } from '#core/block/slot-store.ts'
import { spilledSlots } from '#core/block/spilled-slots.ts'
import { asFixedVhd } from '#core/image/index.ts'
import { probeFileSystem, readPartitions } from '#core/partition/index.ts'

const run = promisify(execFile)
const mebibyte = 1 << 20
const random = (bytes: Uint8Array): void => void randomFillSync(bytes)
const identity = { uniqueId: 'b3c1a6f0-1d2e-4f5a-8b9c-0d1e2f3a4b5c', createdSeconds: 800_000_000 }

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'overlay-interop-'))
})
afterEach(() => rm(folder, { recursive: true }))

const inFolder = (name: string): string => join(folder, name)
const output = async (command: string, ...args: string[]): Promise<string> =>
  (await run(command, args, { maxBuffer: 64 * mebibyte, timeout: 50_000 })).stdout

/** Serves a device for as long as the result is held. */
async function serve(device: BlockDevice): Promise<AsyncDisposable & { readonly uri: string }> {
  const server = new NbdServer({
    exports: [{ name: 'disk', device }],
    onDropped: (error) => console.error(error),
  })
  const socket = inFolder('nbd.sock')
  await server.listenUnix(socket)
  return { uri: `nbd+unix:///disk?socket=${socket}`, [Symbol.asyncDispose]: () => server.close() }
}

const kept = (blocks: number): Promise<SlotStore> =>
  openKeptSlots({ folder: inFolder('kept'), blocks, key: new Uint8Array(32).fill(1), base: 'disk 1', random })

test('qemu-io writes an overlay, unaligned and in zeros, and finds it again after it was closed', async () => {
  const content = patternedDisk(8 * mebibyte)
  const base = memoryDevice(content.slice(), false)
  const blocks = overlayBlocks(base.sizeBytes)
  {
    await using disk = overlay(base, await kept(blocks))
    await using server = await serve(disk)
    const commands = [
      'write -P 0x5a 1M 64k',
      'write -P 0x77 12345 7001',
      'write -z -u 2M 1M',
      'discard 4M 64k',
      'flush',
    ]
    for (const command of commands) await output('qemu-io', '-f', 'raw', '-c', command, server.uri)
  }
  content.fill(0x5a, mebibyte, mebibyte + 65_536).fill(0x77, 12_345, 12_345 + 7001)
  content.fill(0, 2 * mebibyte, 3 * mebibyte).fill(0, 4 * mebibyte, 4 * mebibyte + 65_536)
  await writeFile(inFolder('expected.img'), content)
  await using disk = overlay(memoryDevice(patternedDisk(8 * mebibyte), false), await kept(blocks))
  await using server = await serve(disk)
  const same = await output(
    'qemu-img',
    'compare',
    '-f',
    'raw',
    '-F',
    'raw',
    server.uri,
    inFolder('expected.img'),
  )
  expect(same).toContain('identical')
  const map = JSON.parse(await output('nbdinfo', '--map', '--json', server.uri)) as {
    offset: number
    length: number
    type: number
  }[]
  const hole = map.find(({ offset, length }) => offset <= 2 * mebibyte && offset + length >= 3 * mebibyte)
  expect(hole).toMatchObject({ type: 3 })
})

test('fio verifies random writes at depth 32 over an overlay of memory and file', async () => {
  const blocks = overlayBlocks(64n * 1_048_576n)
  const slots = spilledSlots(
    memorySlots(blocks, 4 * mebibyte),
    await openDiscardedSlots({ folder, blocks, random }),
  )
  await using disk = overlay(memoryDevice(new Uint8Array(64 * mebibyte), false), slots)
  await using server = await serve(disk)
  const report = await output(
    'fio',
    '--name=verify',
    // Where it keeps the state of its verification.
    `--aux-path=${folder}`,
    '--ioengine=nbd',
    `--uri=${server.uri}`,
    '--rw=randwrite',
    '--size=32m',
    '--bssplit=512/10:4k/50:12k/20:64k/20',
    '--iodepth=32',
    '--verify=crc32c',
    '--do_verify=1',
    '--verify_fatal=1',
  )
  expect(report).toMatch(/err= 0/u)
})

test('a client is told that there is no room', async () => {
  const blocks = overlayBlocks(1_048_576n)
  await using disk = overlay(memoryDevice(new Uint8Array(mebibyte), false), memorySlots(blocks, 65_536))
  await using server = await serve(disk)
  const outcome = await run('qemu-io', [
    '-f',
    'raw',
    '-c',
    'write 0 64k',
    '-c',
    'write 512k 4k',
    server.uri,
  ]).catch((error: { stdout: string; stderr: string }) => error)
  expect(outcome.stdout + outcome.stderr).toContain('No space left on device')
  expect(outcome.stdout).toContain('wrote 65536/65536 bytes at offset 0')
})

test('a disk as a fixed VHD: nbdcopy, vhdiinfo and qemu-img see one, with the disk in it', async () => {
  const content = patternedDisk(20 * mebibyte)
  await writeFile(inFolder('disk.img'), content)
  const slots = memorySlots(overlayBlocks(BigInt(content.length)), 4 * mebibyte)
  await using disk = asFixedVhd(overlay(memoryDevice(content.slice(), false), slots), identity)
  await using server = await serve(disk)
  const copy = inFolder('copy.vhd')
  await output('nbdcopy', server.uri, copy)
  const info = await output('vhdiinfo', copy)
  expect(info).toMatch(/Disk type\s*: Fixed/u)
  expect(info).toContain(`(${content.length} bytes)`)
  expect(info.toLowerCase()).toContain(identity.uniqueId)
  const details = JSON.parse(await output('qemu-img', 'info', '-f', 'vpc', '--output=json', copy)) as object
  expect(details).toMatchObject({ format: 'vpc', 'virtual-size': content.length })
  const overNbd = `driver=vpc,file.driver=nbd,file.server.type=unix,file.server.path=${inFolder('nbd.sock')},file.export=disk`
  const remote = await output('qemu-img', 'info', '--image-opts', '--output=json', overNbd)
  expect(JSON.parse(remote)).toMatchObject({ 'virtual-size': content.length })
  for (const [image, options] of [
    [copy, ['-f', 'vpc']],
    [overNbd, ['--image-opts']],
  ] as const) {
    const reference =
      options[0] === '-f' ? inFolder('disk.img') : `driver=raw,file.filename=${inFolder('disk.img')}`
    const formats = options[0] === '-f' ? [...options, '-F', 'raw'] : options
    expect(await output('qemu-img', 'compare', ...formats, image, reference)).toContain('identical')
  }
  // Written as a disk through the format; the footer is refused.
  await output('qemu-io', '--image-opts', '-c', 'write -P 0x42 5M 4k', overNbd)
  expect((await disk.read(BigInt(5 * mebibyte), 4096)).every((byte) => byte === 0x42)).toBe(true)
  const refused = await run('qemu-io', ['-f', 'raw', '-c', 'write 20M 512', server.uri]).catch(
    (error: { stdout: string; stderr: string }) => error,
  )
  expect(refused.stdout + refused.stderr).toContain('Operation not permitted')
})

async function fileSource(path: string): Promise<ByteSource> {
  const file = await open(path)
  const sizeBytes = BigInt((await file.stat()).size)
  return {
    sizeBytes,
    read: async (offset, length) => {
      requireRange(sizeBytes, offset, length)
      const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, Number(offset))
      if (bytesRead !== length) throw new Error('the file became shorter')
      return buffer
    },
    [Symbol.asyncDispose]: async () => file.close(),
  }
}

async function emptyDisk(name: string, sizeBytes: number): Promise<string> {
  await using file = await open(inFolder(name), 'w')
  await file.truncate(sizeBytes)
  return inFolder(name)
}

/** Partitions by a program that reads its script from standard input. */
async function sfdisk(path: string, script: string): Promise<void> {
  const child = run('sfdisk', ['--quiet', path])
  child.child.stdin?.end(script)
  await child
}

test.each(['dos', 'gpt'])('the partitions of a %s label are those that sfdisk says', async (label) => {
  const path = await emptyDisk('disk.img', 64 * mebibyte)
  const script =
    label === 'dos'
      ? 'label: dos\n,8M,L\n,4M,7\n,,E\n,5M,L\n,6M,S\n,3M,c\n'
      : 'label: gpt\nsize=8M,type=U,name="EFI system"\nsize=4M,type=L,name="naïve root"\nsize=6M,type=S\n'
  await sfdisk(path, script)
  const { partitiontable } = JSON.parse(await output('sfdisk', '--json', path)) as {
    partitiontable: {
      partitions: { node: string; start: number; size: number; type: string; name?: string }[]
    }
  }
  await using source = await fileSource(path)
  const table = await readPartitions(source)
  expect(table.scheme).toBe(label === 'dos' ? 'mbr' : 'gpt')
  expect(
    table.partitions.map(({ number, offset, sizeBytes, type, name }) => ({
      node: `${path}${number}`,
      start: Number(offset / 512n),
      size: Number(sizeBytes / 512n),
      type: label === 'dos' ? type.replace(/^0/u, '') : type.toUpperCase(),
      ...(name === undefined ? {} : { name }),
    })),
  ).toEqual(
    partitiontable.partitions.map(({ node, start, size, type, name }) => ({
      node,
      start,
      size,
      type,
      ...(name === undefined ? {} : { name }),
    })),
  )
})

test('a GPT of sgdisk whose first sectors are gone is read from its backup', async () => {
  const path = await emptyDisk('disk.img', 32 * mebibyte)
  await output('sgdisk', '--new=1:0:+5M', '--change-name=1:first', '--new=3:0:0', '--typecode=3:8200', path)
  const read = async (): Promise<unknown> => {
    await using source = await fileSource(path)
    return await readPartitions(source)
  }
  const whole = await read()
  expect(whole).toMatchObject({ scheme: 'gpt', partitions: [{ number: 1, name: 'first' }, { number: 3 }] })
  {
    await using file = await open(path, 'r+')
    await file.write(new Uint8Array(512), 0, 512, 512)
  }
  expect(await read()).toEqual(whole)
})

const fileSystems: readonly (readonly [string, string | undefined, readonly string[], number])[] = [
  ['ext2', 'data', ['mkfs.ext2', '-q', '-F', '-L', 'data'], 16],
  ['ext3', 'data', ['mkfs.ext3', '-q', '-F', '-L', 'data'], 16],
  ['ext4', 'data', ['mkfs.ext4', '-q', '-F', '-L', 'data'], 16],
  ['ext4', undefined, ['mkfs.ext4', '-q', '-F'], 16],
  ['xfs', 'data', ['mkfs.xfs', '-q', '-f', '-L', 'data'], 320],
  ['btrfs', 'data', ['mkfs.btrfs', '-q', '-f', '-L', 'data'], 128],
  ['ntfs', undefined, ['mkfs.ntfs', '-q', '-F', '-L', 'data'], 16],
  ['vfat', 'DATA', ['mkfs.vfat', '-F', '16', '-n', 'DATA'], 16],
  ['vfat', 'DATA', ['mkfs.vfat', '-F', '32', '-n', 'DATA'], 64],
  ['vfat', undefined, ['mkfs.vfat'], 16],
  ['swap', 'data', ['mkswap', '-q', '-L', 'data'], 16],
]

test.each(fileSystems)(
  '%s with the label %s is known, alone and inside a partition',
  async (type, label, [command = '', ...args], size) => {
    const path = await emptyDisk('fs.img', size * mebibyte)
    await output(command, ...args, path)
    const expected = { type, ...(label === undefined ? {} : { label }) }
    {
      await using source = await fileSource(path)
      expect(await probeFileSystem(source)).toEqual(expected)
      expect(await readPartitions(source)).toEqual({ scheme: 'none', partitions: [] })
    }
    const disk = await emptyDisk('disk.img', (size + 4) * mebibyte)
    await sfdisk(disk, `label: gpt\nsize=${size}M\n`)
    await output('dd', `if=${path}`, `of=${disk}`, 'bs=1M', 'seek=1', 'conv=notrunc,sparse', 'status=none')
    await using source = await fileSource(disk)
    const { partitions } = await readPartitions(source)
    expect(await probeFileSystem(source, partitions[0])).toEqual(expected)
  },
)

test('squashfs is known', async () => {
  await mkdir(inFolder('tree'))
  await writeFile(inFolder('tree/file'), 'text')
  await output('mksquashfs', inFolder('tree'), inFolder('fs.img'), '-quiet', '-no-progress')
  await using source = await fileSource(inFolder('fs.img'))
  expect(await probeFileSystem(source)).toEqual({ type: 'squashfs' })
})

test('a file system is made through a slice of an overlay, and the disk below it stays as it was', async () => {
  const path = await emptyDisk('disk.img', 32 * mebibyte)
  await sfdisk(path, 'label: gpt\nsize=20M\n')
  const before = await readFile(path)
  const base = memoryDevice(Uint8Array.from(before), false)
  const [partition] = (await readPartitions(base)).partitions
  const blocks = overlayBlocks(base.sizeBytes)
  const whole = overlay(base, await openDiscardedSlots({ folder, blocks, random }))
  await using disk = sliced(whole, partition!.offset, partition!.sizeBytes)
  await using server = await serve(disk)
  const made = await emptyDisk('made.img', 20 * mebibyte)
  await output('mkfs.ext4', '-q', '-F', '-L', 'made', made)
  await output('nbdcopy', '--flush', made, server.uri)
  await output('nbdcopy', server.uri, inFolder('back.img'))
  await output('fsck.ext4', '-f', '-n', inFolder('back.img'))
  expect(await probeFileSystem(whole, partition)).toEqual({ type: 'ext4', label: 'made' })
  expect(Buffer.compare(await base.read(0n, before.length), before)).toBe(0)
})
