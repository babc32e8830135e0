import { execFile } from 'node:child_process'
import { createHash, randomBytes, randomFillSync, randomUUID } from 'node:crypto'
import { mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type BlockDevice, type ByteSource, requireRange } from '#core/block/block-device.ts'
import {
  detectFormat,
  openRaw,
  openVhd,
  openVhdx,
  type SparseSink,
  writeDynamicVhd,
  writeFixedVhd,
} from '#core/image/index.ts'
import { buildVhd } from '#core/image/vhd/vhd.fixture.ts'
import { buildVhdx, withLog } from '#core/image/vhdx/vhdx.fixture.ts'

const mebibyte = 1 << 20
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-formats-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true })
})

const run = promisify(execFile)
const qemuImg = async (...args: string[]): Promise<string> => (await run('qemu-img', args)).stdout
const inFolder = (name: string): string => join(folder, name)

async function fileSource(path: string): Promise<ByteSource> {
  const file = await open(path)
  const sizeBytes = BigInt((await file.stat()).size)
  return {
    sizeBytes,
    read: async (offset, length) => {
      requireRange(sizeBytes, offset, length)
      const bytes = new Uint8Array(length)
      let filled = 0
      while (filled < length) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, Number(offset) + filled)
        if (bytesRead === 0) throw new Error('the file became shorter')
        filled += bytesRead
      }
      return bytes
    },
    [Symbol.asyncDispose]: async () => file.close(),
  }
}

async function writeFileWith(path: string, write: (sink: SparseSink) => Promise<void>): Promise<void> {
  await using file = await open(path, 'w')
  await write({
    write: async (offset, bytes) => void (await file.write(bytes, 0, bytes.length, Number(offset))),
    resize: async (sizeBytes) => file.truncate(Number(sizeBytes)),
  })
}

async function digestOf(device: BlockDevice): Promise<string> {
  const hash = createHash('sha256')
  const sizeBytes = Number(device.sizeBytes)
  for (let offset = 0; offset < sizeBytes; offset += mebibyte) {
    hash.update(await device.read(BigInt(offset), Math.min(mebibyte, sizeBytes - offset)))
  }
  return hash.digest('hex')
}

/** Random data here and there, zeros elsewhere: 37 MiB and an odd number of sectors. */
async function makeRaw(name: string): Promise<string> {
  const path = inFolder(name)
  await using file = await open(path, 'w')
  await file.truncate(37 * mebibyte + 3 * 512)
  for (const [at, length] of [
    [0, 70_000],
    [5 * mebibyte - 700, 1400],
    [20 * mebibyte, 5 * mebibyte],
    [37 * mebibyte + 512, 1024],
  ] as const) {
    await file.write(randomBytes(length), 0, length, at)
  }
  return path
}

async function expectSameContent(raw: string, device: BlockDevice): Promise<void> {
  await using original = openRaw(await fileSource(raw))
  expect(device.sizeBytes).toBe(original.sizeBytes)
  expect(await digestOf(device)).toBe(await digestOf(original))
}

const identity = (): { uniqueId: string; createdSeconds: number } => ({
  uniqueId: randomUUID(),
  createdSeconds: 800_000_000,
})

test.each([
  ['dynamic', 'subformat=dynamic,force_size=on'],
  ['fixed', 'subformat=fixed,force_size=on'],
])('a %s VHD made by QEMU reads as what it was made from', async (kind, options) => {
  const raw = await makeRaw(`of-${kind}.raw`)
  const vhd = inFolder(`qemu-${kind}.vhd`)
  await qemuImg('convert', '-f', 'raw', '-O', 'vpc', '-o', options, raw, vhd)
  await using file = await fileSource(vhd)
  expect(await detectFormat(file)).toBe('vhd')
  await using disk = await openVhd(await fileSource(vhd))
  await expectSameContent(raw, disk)
})

test('a VHD of the size that its geometry gives, as QEMU makes by default, has the size that QEMU says', async () => {
  const vhd = inFolder('chs.vhd')
  await qemuImg('create', '-f', 'vpc', vhd, '100M')
  await using disk = await openVhd(await fileSource(vhd))
  expect(disk.sizeBytes).toBe(104_865_792n)
  expect(await disk.extents(0n, 104_865_792)).toEqual([{ kind: 'hole', length: 104_865_792 }])
})

test.each([
  ['fixed', writeFixedVhd],
  ['dynamic', writeDynamicVhd],
] as const)(
  'a %s VHD of ours is the same disk to QEMU and libvhdi, and stays sparse',
  async (kind, write) => {
    const raw = await makeRaw(`for-${kind}.raw`)
    const vhd = inFolder(`ours-${kind}.vhd`)
    const made = identity()
    {
      await using disk = openRaw(await fileSource(raw))
      await writeFileWith(vhd, async (sink) => write(disk, sink, made))
    }
    await using disk = await openVhd(await fileSource(vhd))
    await expectSameContent(raw, disk)

    expect(await qemuImg('compare', '-f', 'raw', '-F', 'vpc', raw, vhd)).toContain('Images are identical')
    const { stdout } = await run('vhdiinfo', [vhd])
    expect(stdout).toContain(made.uniqueId)
    expect(stdout.toLowerCase()).toContain(kind)
    expect(stdout).toContain(`(${37 * mebibyte + 3 * 512} bytes)`)
    expect((await stat(vhd)).blocks * 512).toBeLessThan(16 * mebibyte)
  },
)

test('libvhdi reads a chain of our differencing disks as we do', async () => {
  const parentId = randomUUID()
  const sizeBytes = 8 * mebibyte
  const blockBytes = 2 * mebibyte
  const parent = buildVhd({
    uniqueId: parentId,
    sizeBytes,
    blockBytes,
    sectors: new Map([
      [0, 1],
      [1, 2],
      [9000, 3],
    ]),
  })
  const child = buildVhd({
    uniqueId: randomUUID(),
    sizeBytes,
    blockBytes,
    sectors: new Map([
      [1, 8],
      [5000, 9],
    ]),
    parent: { uniqueId: parentId, name: 'parent.vhd', paths: [{ platform: 'W2ru', path: '.\\parent.vhd' }] },
  })
  await writeFile(inFolder('parent.vhd'), parent)
  await writeFile(inFolder('child.vhd'), child)
  await using disk = await openVhd(await fileSource(inFolder('child.vhd')), {
    resolveParent: async () => ({ source: await fileSource(inFolder('parent.vhd')) }),
  })
  await using mounted = await mountWithLibvhdi(inFolder('child.vhd'))
  // The child is the last of the disks that libvhdi shows of a chain.
  await using theirs = openRaw(await fileSource(join(mounted.path, 'vhdi2')))
  expect(theirs.sizeBytes).toBe(disk.sizeBytes)
  expect(await digestOf(disk)).toBe(await digestOf(theirs))
  const start = await disk.read(0n, 1024)
  expect([start[0], start[512]]).toEqual([1, 8])
})

test.each(['dynamic', 'fixed'])('a %s VHDX made by QEMU reads as what it was made from', async (kind) => {
  const raw = await makeRaw(`of-${kind}x.raw`)
  const vhdx = inFolder(`qemu-${kind}.vhdx`)
  await qemuImg('convert', '-f', 'raw', '-O', 'vhdx', '-o', `subformat=${kind},block_size=1M`, raw, vhdx)
  await using file = await fileSource(vhdx)
  expect(await detectFormat(file)).toBe('vhdx')
  await using disk = await openVhdx(await fileSource(vhdx))
  await expectSameContent(raw, disk)
})

test('a log that was not replayed is to us what QEMU makes of it', async () => {
  const [vhdx, raw] = [inFolder('dirty.vhdx'), inFolder('replayed.raw')]
  await qemuImg('create', '-f', 'vhdx', '-o', 'subformat=dynamic,block_size=1M', vhdx, '9M')
  await run('qemu-io', ['-f', 'vhdx', '-c', 'write -P 0x44 0 1M', vhdx])
  const clean = new Uint8Array(await readFile(vhdx))
  const data = Buffer.from(clean).indexOf(Buffer.alloc(4096, 0x44))
  const written = (offset: number) => ({ at: data + offset, value: randomFillSync(new Uint8Array(4096)) })
  // The second entry runs over the end of the log. Were there a third, QEMU 7.2 would replay that one only.
  const [first, second] = [mebibyte - 16_384, mebibyte - 8192]
  const dirty = withLog(clean, [
    { at: first, tail: first, sequence: 41, writes: [written(4096), { at: data + 16_384, value: 8192 }] },
    { at: second, tail: first, sequence: 42, writes: [written(0), written(16_384)] },
  ])
  await writeFile(vhdx, dirty)
  const ours = await digestOfFile(vhdx)
  // QEMU replays only into a file that it may write to.
  await qemuImg('check', '-q', '-r', 'all', '-f', 'vhdx', vhdx)
  await qemuImg('convert', '-f', 'vhdx', '-O', 'raw', vhdx, raw)
  await using replayed = openRaw(await fileSource(raw))
  expect(ours).toBe(await digestOf(replayed))
  await writeFile(vhdx, clean)
  expect(ours).not.toBe(await digestOfFile(vhdx))
})

async function digestOfFile(vhdx: string): Promise<string> {
  await using disk = await openVhdx(await fileSource(vhdx))
  // Awaited here: the disk is closed when this function returns.
  return await digestOf(disk)
}

test('libvhdi reads a chain of differencing VHDX disks as we do', async () => {
  const parentGuid = randomUUID()
  const common = { sizeBytes: 8 * mebibyte, blockBytes: 2 * mebibyte, sectorBytes: 512 } as const
  const parent = buildVhdx({
    ...common,
    dataWriteGuid: parentGuid,
    sectors: new Map([
      [0, 1],
      [1, 2],
      [9000, 3],
    ]),
  })
  const child = buildVhdx({
    ...common,
    dataWriteGuid: randomUUID(),
    sectors: new Map([
      [1, 8],
      [5000, 9],
    ]),
    parent: {
      parent_linkage: `{${parentGuid}}`,
      relative_path: '.\\parent.vhdx',
      absolute_win32_path: 'C:\\parent.vhdx',
    },
  })
  await writeFile(inFolder('parent.vhdx'), parent)
  await writeFile(inFolder('child.vhdx'), child)
  await using disk = await openVhdx(await fileSource(inFolder('child.vhdx')), {
    resolveParent: async () => ({ source: await fileSource(inFolder('parent.vhdx')) }),
  })
  await using mounted = await mountWithLibvhdi(inFolder('child.vhdx'))
  await using theirs = openRaw(await fileSource(join(mounted.path, 'vhdi2')))
  expect(theirs.sizeBytes).toBe(disk.sizeBytes)
  expect(await digestOf(disk)).toBe(await digestOf(theirs))
})

test.each([
  ['qcow2', 'compat=1.1'],
  ['vmdk', 'subformat=monolithicSparse'],
  ['vmdk', 'subformat=monolithicFlat'],
  ['raw', 'preallocation=off'],
])('a file that QEMU made as %s (%s) is known as that', async (format, options) => {
  const path = inFolder(`detected-${options.replace('=', '-')}`)
  await qemuImg('create', '-q', '-f', format, '-o', options, path, '2M')
  await using file = await fileSource(path)
  expect(await detectFormat(file)).toBe(format)
})

async function mountWithLibvhdi(image: string): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(folder, 'mount-'))
  await run('vhdimount', [image, path])
  return {
    path,
    [Symbol.asyncDispose]: async () => void (await run('umount', [path])),
  }
}
