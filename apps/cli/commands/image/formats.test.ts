import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import {
  copyFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { imageKeyOrNew } from '#apps/images/key-ring.ts'
import { importDevice } from '#core/artifact/artifact.fixture.ts'
import { storedDigest } from '#core/artifact/chunk.ts'
import { sealChunk, sealingKeysOf } from '#core/artifact/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { withChecksum } from '#core/image/vhd/footer.ts'
import { buildVhd, type VhdPlan } from '#core/image/vhd/vhd.fixture.ts'
import { buildVhdx, places, type VhdxPlan } from '#core/image/vhdx/vhdx.fixture.ts'
import { image } from '../image.ts'

/** Disks in every format, made by the programs that people make them with: what comes in comes out, and what is bad leaves nothing. */

const run = promisify(execFile)
const MiB = 1_048_576
/** Of `disk.raw`: no whole MiB. */
const sizeBytes = 64 * MiB + 1536

let folder: string
/** What files of one test lie in. */
let disks: string
const at = (name: string): string => join(disks, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-formats-'))
  await mkdir(join(folder, 'tmp'))
  await writeSparse(join(folder, 'disk.raw'))
  useFolder()
  await command('import', join(folder, 'disk.raw'), 'disk:raw')
})

function useFolder(): void {
  vi.stubEnv('TRUSTCAST_STORE', join(folder, 'store'))
  vi.stubEnv('TRUSTCAST_IMAGES', join(folder, 'keys'))
  vi.stubEnv('TMPDIR', join(folder, 'tmp'))
}

beforeEach(async () => {
  disks = await mkdtemp(join(folder, 'disks-'))
  useFolder()
})

afterEach(async () => {
  // Nothing of what is converted on the way stays.
  expect(await readdir(join(folder, 'tmp'))).toEqual([])
  vi.unstubAllEnvs()
})

afterAll(() => rm(folder, { recursive: true }))

/** Runs `trustcast image …`. @returns its result as JSON, and what it said */
async function command(...words: readonly string[]) {
  const results: unknown[] = []
  const said: string[] = []
  await image.run(words, {
    json: true,
    result: (value) => results.push(value),
    say: (line) => said.push(line),
    signal: new AbortController().signal,
  })
  return { result: results[0] as Readonly<Record<string, unknown>>, said }
}

const qemuImg = (...words: readonly string[]) => run('qemu-img', words, { cwd: disks })

/** Noise in 7 MiB of 64, at places that are no multiples of anything; the rest is a hole. */
async function writeSparse(path: string): Promise<void> {
  await using file = await open(path, 'w')
  await file.truncate(sizeBytes)
  for (const [offset, length] of [
    [0, 70_000],
    [20 * MiB - 700, 5 * MiB],
    [sizeBytes - 1024, 1024],
  ] as const)
    await file.write(randomBytes(length), 0, length, offset)
}

async function allocatedBytes(...paths: readonly string[]): Promise<number> {
  const all = await Promise.all(paths.map((path) => stat(path)))
  return all.reduce((sum, { blocks }) => sum + blocks * 512, 0)
}

/** All that is in the store, and what of it has a name. */
async function stored() {
  const store = join(folder, 'store')
  const blobs = join(store, 'blobs/sha256')
  const names = (await readdir(blobs)).toSorted()
  return { names, index: await readFile(join(store, 'index.json'), 'utf8'), all: await readdir(store) }
}

test.each([
  ['vhdx', ['-o', 'subformat=dynamic']],
  ['qcow2', []],
  ['qcow2', ['-c']],
  ['vmdk', ['-o', 'subformat=monolithicSparse']],
  ['vmdk', ['-o', 'subformat=streamOptimized']],
] as const)('%s %s comes out as it was, and sparse', async (format, options) => {
  const name = `disk:${format}${
    options
      .at(-1)
      ?.replace(/.*[=-]/, '-')
      .toLowerCase() ?? ''
  }`
  await qemuImg(
    'convert',
    '-f',
    'raw',
    '-O',
    format,
    ...options,
    join(folder, 'disk.raw'),
    at(`disk.${format}`),
  )
  const { result } = await command('import', at(`disk.${format}`), name, '--format', format)
  // Chunks that hold any of the noise: 1 at the start, 21 of the middle, 1 at the end.
  expect(result).toMatchObject({ sizeBytes, chunks: 23 })
  const { names } = await stored()
  const files = names.map((blob) => join(folder, 'store/blobs/sha256', blob))
  expect(await allocatedBytes(...files)).toBeLessThan(7 * MiB)
  await command('export', name, at('copy.raw'))
  await run('cmp', [at('copy.raw'), join(folder, 'disk.raw')])
  expect(await allocatedBytes(at('copy.raw'))).toBeLessThan(9 * MiB)
})

test('an account that has imported nothing has no images, which is no error; a folder that it names is', async () => {
  vi.stubEnv('TRUSTCAST_STORE', undefined)
  vi.stubEnv('XDG_DATA_HOME', join(folder, 'fresh'))
  expect((await command('list')).result).toEqual([])
  await expect(command('list', '--store', join(folder, 'fresh'))).rejects.toMatchObject({
    code: 'BLOB_BAD_STORE',
  })
})

test('a raw disk may hold what looks like another format: --format says what it is', async () => {
  await qemuImg('create', '-q', '-f', 'qcow2', 'inner.qcow2', '1M')
  await truncate(at('inner.qcow2'), MiB)
  const { result } = await command('import', at('inner.qcow2'), 'inner:1', '--format', 'raw')
  expect(result).toMatchObject({ sizeBytes: MiB })
  await command('export', 'inner:1', at('copy'))
  await run('cmp', [at('copy'), at('inner.qcow2')])
})

/** Small disks that differ in the bytes that fill their sectors. */
const small = { sizeBytes: 8 * MiB, blockBytes: 2 * MiB }
const parentId = '11111111-2222-4333-8444-555555555555'
const filled = (...pairs: readonly (readonly [sector: number, byte: number])[]) => new Map(pairs)
const twoBlocks = filled([0, 1], [1, 2], [9000, 3])

const vhd = (more: Partial<VhdPlan> = {}): Uint8Array =>
  buildVhd({ ...small, uniqueId: parentId, sectors: twoBlocks, ...more })

const vhdx = (more: Partial<VhdxPlan> = {}): Uint8Array =>
  buildVhdx({ ...small, sectorBytes: 512, dataWriteGuid: parentId, sectors: twoBlocks, ...more })

const child = { sectors: filled([1, 8], [5000, 9]) }
const vhdChild = (uniqueId: string = randomUUID()): Uint8Array =>
  vhd({
    ...child,
    uniqueId,
    parent: { uniqueId: parentId, name: 'parent.vhd', paths: [{ platform: 'W2ru', path: 'C:\\parent.vhd' }] },
  })
const vhdxChild = (dataWriteGuid: string = randomUUID()): Uint8Array =>
  vhdx({
    ...child,
    dataWriteGuid,
    parent: { parent_linkage: `{${parentId}}`, relative_path: '.\\parent.vhdx' },
  })

test.each([
  ['vhd', vhdChild(), vhd()],
  ['vhdx', vhdxChild(), vhdx()],
] as const)(
  'a differencing %s is imported over a parent in the folder of --parents',
  async (format, top, parent) => {
    await mkdir(at('parents'))
    await writeFile(at(`child.${format}`), top)
    await writeFile(at(`parents/parent.${format}`), parent)
    const words = ['import', at(`child.${format}`), `child:${format}`]
    await expect(command(...words)).rejects.toMatchObject({ code: 'IMAGE_PARENT_MISSING' })
    await command(...words, '--parents', at('parents'))
    await command('export', `child:${format}`, at('copy.raw'))
    const expected = new Uint8Array(small.sizeBytes)
    for (const [sector, byte] of [...twoBlocks, ...child.sectors])
      expected.fill(byte, sector * 512, (sector + 1) * 512)
    expect(Buffer.compare(await readFile(at('copy.raw')), expected)).toBe(0)
  },
)

test('a VHD is as sparse as the disk, and of a size that Azure does not take it is said', async () => {
  await writeFile(at('whole.vhd'), vhd())
  await command('import', at('whole.vhd'), 'whole:1')
  const warned = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const files = ['odd-dynamic.vhd', 'whole-fixed.vhd', 'odd-fixed.vhd']
  try {
    await command('export', 'disk:raw', at(files[0]!), '--format', 'vhd')
    await command('export', 'whole:1', at(files[1]!), '--format', 'vhd-fixed')
    expect(warned).not.toHaveBeenCalled()
    await command('export', 'disk:raw', at(files[2]!), '--format', 'vhd-fixed')
    expect(warned.mock.calls.flat().join('')).toMatch(
      /^IMAGE_SIZE_UNALIGNED: Azure .* 67110400 bytes\n.*resize -f raw FILE 68157440\b/,
    )
  } finally {
    warned.mockRestore()
  }
  for (const file of [files[0]!, files[2]!]) {
    await qemuImg('compare', '-f', 'raw', '-F', 'vpc', join(folder, 'disk.raw'), file)
    expect(await allocatedBytes(at(file))).toBeLessThan(14 * MiB)
  }
})

/** Writes what a row of the table is about. @returns the words that name it */
type Make = () => Promise<readonly string[]>

/** A file with one change. */
function of(
  name: string,
  file: Uint8Array,
  change: (view: DataView, file: Uint8Array) => void = () => {},
): Make {
  return async () => {
    const changed = Uint8Array.from(file)
    change(new DataView(changed.buffer), changed)
    await writeFile(at(name), changed)
    return [name]
  }
}

/** The first so many bytes of a file, or all but so many. */
const cut = (name: string, file: Uint8Array, end: number): Make => of(name, file.slice(0, end))

/** A child and what stands in its parent's place. */
const over =
  (format: string, top: Uint8Array, parent: Uint8Array): Make =>
  async () => {
    await writeFile(at(`child.${format}`), top)
    await writeFile(at(`parent.${format}`), parent)
    return [`child.${format}`]
  }

/** With the checksum of a VHD's footers right again. */
const footers = (file: Uint8Array): void => {
  for (const end of [0, file.length - 512]) file.set(withChecksum(file.subarray(end, end + 512), 64), end)
}

/** 6 MiB of noise in a file that qemu-img made, with one change. */
const made =
  (name: string, options: readonly string[], change: (view: DataView) => void): Make =>
  async () => {
    const format = name.split('.').at(-1) ?? ''
    await writeFile(at('noise'), randomBytes(6 * MiB))
    await qemuImg('convert', '-f', 'raw', '-O', format === 'vhd' ? 'vpc' : format, ...options, 'noise', name)
    const file = new Uint8Array(await readFile(at(name)))
    change(new DataView(file.buffer))
    await writeFile(at(name), file)
    return [name]
  }

/** What a program makes of a disk, as the one file that is left. */
const packed =
  (program: string, ...words: readonly string[]): Make =>
  async () => {
    await writeFile(at('disk'), Buffer.alloc(MiB, 'text '))
    await run(program, words, { cwd: disks })
    return readdir(disks)
  }

/** The same, of which `part` ends before its end. */
const madeCut =
  (name: string, options: readonly string[] = [], part = name): Make =>
  async () => {
    const words = await made(name, options, () => {})()
    await truncate(at(part), 5 * MiB)
    return words
  }

/** `top` over `low`, both made by qemu-img and then altered. */
const stacked =
  (format: string, alter: () => Promise<void>): Make =>
  async () => {
    await qemuImg('create', '-q', '-f', format, `low.${format}`, '8M')
    await run('qemu-io', ['-f', format, '-c', 'write -P 3 0 64k', at(`low.${format}`)])
    await qemuImg('create', '-q', '-f', format, '-F', format, '-b', `low.${format}`, `top.${format}`)
    await alter()
    return [`top.${format}`]
  }

const firstCluster = (view: DataView): number => {
  const levelOne = Number(view.getBigUint64(40))
  return Number(view.getBigUint64(levelOne) & 0x00ff_ffff_ffff_fe00n)
}

/** A qcow2 of 1 MiB that names one cluster of 2 MiB, of one byte, for each of 32 TiB. */
const bomb: Make = async () => {
  const options = ['-o', 'cluster_size=2M,refcount_bits=64']
  await qemuImg('create', '-q', '-f', 'qcow2', ...options, 'bomb.qcow2', '512G')
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 2M', at('bomb.qcow2')])
  const file = new Uint8Array(await readFile(at('bomb.qcow2')))
  const view = new DataView(file.buffer)
  const levelTwo = firstCluster(view)
  const shared = view.getBigUint64(levelTwo) & ~(1n << 63n)
  for (let slot = 0; slot < 262_144; slot++) view.setBigUint64(levelTwo + slot * 8, shared)
  const refcounts = Number(view.getBigUint64(Number(view.getBigUint64(48))))
  view.setBigUint64(refcounts + Number(shared / BigInt(2 * MiB)) * 8, 262_144n)
  await writeFile(at('bomb.qcow2'), file)
  return ['bomb.qcow2']
}

const refusals: readonly (readonly [what: string, code: string, make: Make])[] = [
  ['VHD: cut off', 'IMAGE_BLOCK_OUTSIDE', cut('disk.vhd', vhd(), 3 * MiB)],
  ['VHD, fixed: cut off', 'IMAGE_UNKNOWN_FORMAT', madeCut('disk.vhd', ['-o', 'subformat=fixed'])],
  ['VHD: its own ancestor', 'IMAGE_CHAIN_CYCLIC', over('vhd', vhdChild(parentId), vhdChild(parentId))],
  [
    'VHD: blocks over each other',
    'IMAGE_BLOCK_OVERLAP',
    of('disk.vhd', vhd(), (view) => view.setUint32(1536, view.getUint32(1536 + 8))),
  ],
  [
    'VHD: longer than any',
    'IMAGE_TOO_LARGE',
    of('disk.vhd', vhd(), (view, file) => {
      for (const end of [0, file.length - 512]) view.setUint32(end + 48, 0xffff)
      footers(file)
    }),
  ],
  ['VHD: another checksum', 'IMAGE_BAD_CHECKSUM', of('disk.vhd', vhd(), (_, file) => file.fill(7, 600, 601))],
  ['VHD: without its parent', 'IMAGE_PARENT_MISSING', of('child.vhd', vhdChild())],
  [
    'VHD: over another disk',
    'IMAGE_PARENT_MISMATCH',
    over('vhd', vhdChild(), vhd({ uniqueId: randomUUID() })),
  ],

  ['VHDX: cut off', 'IMAGE_BLOCK_OUTSIDE', cut('disk.vhdx', vhdx(), -1)],
  ['VHDX: cut off in its table', 'IMAGE_TRUNCATED', cut('disk.vhdx', vhdx(), places.tableAt + 4096)],
  ['VHDX: its own ancestor', 'IMAGE_CHAIN_CYCLIC', over('vhdx', vhdxChild(parentId), vhdxChild(parentId))],
  [
    'VHDX: blocks over each other',
    'IMAGE_BLOCK_OVERLAP',
    of('disk.vhdx', vhdx(), (view) =>
      view.setBigUint64(places.tableAt, view.getBigUint64(places.tableAt + 16)),
    ),
  ],
  [
    'VHDX: longer than any',
    'IMAGE_TOO_LARGE',
    of('disk.vhdx', vhdx(), (view) => view.setUint32(places.metadataAt + 0x1_000c, 0x4001, true)),
  ],
  [
    'VHDX: another checksum',
    'IMAGE_BAD_CHECKSUM',
    of('disk.vhdx', vhdx(), (_, file) => {
      for (const header of [0x1_0000, 0x2_0000]) file.fill(7, header + 100, header + 101)
    }),
  ],
  ['VHDX: without its parent', 'IMAGE_PARENT_MISSING', of('child.vhdx', vhdxChild())],
  [
    'VHDX: over another disk',
    'IMAGE_PARENT_MISMATCH',
    over('vhdx', vhdxChild(), vhdx({ dataWriteGuid: randomUUID() })),
  ],

  ['qcow2: cut off', 'DISK_FILE_DAMAGED', madeCut('disk.qcow2')],
  ['qcow2, compressed: cut off', 'DISK_FILE_DAMAGED', madeCut('disk.qcow2', ['-c'])],
  [
    'qcow2: its own ancestor',
    'IMAGE_CHAIN_CYCLIC',
    stacked('qcow2', () => copyFile(at('top.qcow2'), at('low.qcow2'))),
  ],
  [
    'qcow2: clusters over each other',
    'DISK_FILE_DAMAGED',
    made('disk.qcow2', [], (view) => {
      const levelTwo = firstCluster(view)
      view.setBigUint64(levelTwo, view.getBigUint64(levelTwo + 8))
    }),
  ],
  [
    'qcow2: longer than any',
    'DISK_FILE_NOT_CONVERTED',
    made('disk.qcow2', [], (view) => view.setBigUint64(24, 1n << 62n)),
  ],
  [
    'qcow2: of an unknown version',
    'DISK_FILE_NOT_CONVERTED',
    made('disk.qcow2', [], (view) => view.setUint32(4, 9)),
  ],
  ['qcow2: without its parent', 'DISK_FILE_PART_MISSING', stacked('qcow2', () => rm(at('low.qcow2')))],
  [
    'qcow2: over a parent that is cut off',
    'DISK_FILE_DAMAGED',
    stacked('qcow2', () => truncate(at('low.qcow2'), 5 * 65_536 - 1)),
  ],
  ['qcow2: a bomb', 'DISK_FILE_NO_ROOM', bomb],

  ['VMDK: cut off', 'DISK_FILE_DAMAGED', madeCut('disk.vmdk')],
  [
    'VMDK, for streams: cut off',
    'DISK_FILE_DAMAGED',
    madeCut('disk.vmdk', ['-o', 'subformat=streamOptimized']),
  ],
  [
    'VMDK, flat: cut off',
    'DISK_FILE_DAMAGED',
    madeCut('disk.vmdk', ['-o', 'subformat=monolithicFlat'], 'disk-flat.vmdk'),
  ],
  [
    'VMDK: its own ancestor',
    'IMAGE_CHAIN_CYCLIC',
    stacked('vmdk', async () => {
      const file = await readFile(at('top.vmdk'))
      file.write('top', file.indexOf('low.vmdk'))
      await writeFile(at('top.vmdk'), file)
    }),
  ],
  [
    'VMDK: longer than any',
    'DISK_FILE_NOT_CONVERTED',
    made('disk.vmdk', [], (view) => view.setBigUint64(12, 1n << 60n, true)),
  ],
  [
    'VMDK: of an unknown version',
    'DISK_FILE_NOT_CONVERTED',
    made('disk.vmdk', [], (view) => view.setUint32(4, 9, true)),
  ],
  ['VMDK: without its parent', 'DISK_FILE_PART_MISSING', stacked('vmdk', () => rm(at('low.vmdk')))],
  [
    'VMDK: over another disk',
    'IMAGE_PARENT_MISMATCH',
    stacked('vmdk', async () => void (await qemuImg('create', '-q', '-f', 'vmdk', 'low.vmdk', '8M'))),
  ],

  ['raw: nothing', 'ARTIFACT_BAD_INPUT', of('disk.raw', new Uint8Array(0))],
  ['raw: a text', 'ARTIFACT_BAD_INPUT', of('disk.raw', Buffer.from('Hello\n'))],
  [
    'raw: half a sector too much',
    'ARTIFACT_BAD_INPUT',
    async () => [...(await of('disk.raw', randomBytes(MiB + 512))()), '--sector', '4096'],
  ],
  ['raw: compressed by gzip', 'IMAGE_UNKNOWN_FORMAT', packed('gzip', 'disk')],
  ['raw: compressed by bzip2', 'IMAGE_UNKNOWN_FORMAT', packed('bzip2', 'disk')],
  ['raw: compressed by xz', 'IMAGE_UNKNOWN_FORMAT', packed('xz', 'disk')],
  ['raw: compressed by zstd', 'IMAGE_UNKNOWN_FORMAT', packed('zstd', '-q', '--rm', 'disk')],
  ['raw: an OVA', 'IMAGE_UNKNOWN_FORMAT', packed('tar', '-cf', 'disk.tar', '--remove-files', 'disk')],
  ['raw: a VDI', 'IMAGE_UNKNOWN_FORMAT', made('disk.vdi', [], () => {})],
  ['raw: a folder', 'DISK_FILE_UNREADABLE', async () => ['.']],
  ['raw: not there', 'DISK_FILE_UNREADABLE', async () => ['absent.raw']],
  [
    'raw: said to be a VHD',
    'IMAGE_UNKNOWN_FORMAT',
    async () => [...(await of('disk.raw', randomBytes(MiB))()), '--format', 'vhd'],
  ],
  [
    'raw: said to be a VHDX',
    'IMAGE_UNKNOWN_FORMAT',
    async () => [...(await of('disk.raw', randomBytes(MiB))()), '--format', 'vhdx'],
  ],
  [
    'raw: said to be a qcow2',
    'DISK_FILE_NOT_CONVERTED',
    async () => [...(await of('disk.raw', randomBytes(MiB))()), '--format', 'qcow2'],
  ],
]

test.each(refusals)('%s is refused with %s, what to do, and nothing stored', async (_, code, make) => {
  const before = await stored()
  const [name = '', ...words] = await make()
  await expect(command('import', at(name), 'bad:1', ...words)).rejects.toMatchObject({
    code,
    remedy: expect.stringMatching(/\.$/u),
  })
  expect(await stored()).toEqual(before)
})

/** A bomb that was signed: whoever has the key of the family sealed 4 MiB for each chunk of 64 KiB. */
test('a chunk that unpacks to more than its place is refused, and nothing is exported', async () => {
  const key = await imageKeyOrNew('bombs')
  const stored = sealChunk(sealingKeysOf(key), new Uint8Array(4 * MiB).fill(1))
  const sealer = { width: 1, seal: async () => ({ stored, digest: storedDigest(stored) }) }
  const disk = memoryDevice(new Uint8Array(MiB).fill(1), false)
  await using store = await openDirectoryStore(join(folder, 'store'))
  const reference = { name: 'bombs', version: '1' }
  const { manifestDigest } = await importDevice(disk, store, { key, sealer, reference })
  const trusting = ['bombs:1', '--manifest', manifestDigest]
  const refusal = { code: 'ARTIFACT_BAD_CHUNK', remedy: expect.stringMatching(/\.$/u) }
  await expect(command('verify', ...trusting)).rejects.toMatchObject(refusal)
  for (const format of ['raw', 'vhd', 'vhd-fixed'])
    await expect(
      command('export', 'bombs:1', at('copy'), '--format', format, ...trusting.slice(1)),
    ).rejects.toMatchObject(refusal)
  expect(await readdir(disks)).toEqual([])
})
